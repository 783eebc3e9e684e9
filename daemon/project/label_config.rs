//! The label config (`config.xml`): which data keys a task must hold, and of what type.
//!
//! Promise: the data keys are those that Label Studio 0.8 finds in the same text, in its order; no text makes the
//! parser run away (size and node limits, no DTD and so no entities); an error names its line, column and remedy.
//! Not here: whether control tags fit the types of their object tags (Label Studio checks that when a label config is
//! saved in it).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::names::printable;

/// The largest label config that is read. The largest known ones (taxonomies of thousands of labels) have under 1 MiB.
pub const MAX_CONFIG_BYTES: usize = 4 << 20;

/// XML nodes (elements, texts, comments) of one label config: what [`MAX_CONFIG_BYTES`] of real labels can hold, and
/// about 30 MB of memory while it is parsed.
pub const MAX_CONFIG_NODES: u32 = 250_000;

/// Characters of the XML parser's own words (they repeat names from the file) that an error shows.
const MAX_ERROR_CHARS: usize = 200;

/// What a data key's value may be: the type that Label Studio 0.8 gives to the tag that names the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DataType {
    /// `Text`, `Header`: a string or a number; `true` and `false` pass too (they are numbers to Python).
    Plain,
    /// `Paragraphs`: a list.
    List,
    /// `Table`: an object.
    Object,
    /// `TimeSeries`: an object, a list or a string.
    Series,
    /// `List`: Label Studio 0.8 asks for a string and then for a `text` in each of its characters, so only `""` passes.
    Nothing,
    /// Every other tag, also one that is unknown: a string.
    Text,
}

/// A parsed label config.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LabelConfig {
    /// Each key once, where it is named first, with the type of the tag that names it last (as a Python dict keeps it).
    data_keys: Vec<(String, DataType)>,
}

/// Why a label config cannot be used, with place and remedy.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct LabelConfigError(pub String);

impl LabelConfig {
    /// Parses `config.xml` as Label Studio 0.8 does: every element below the root with a `value` that starts with `$`
    /// names a data key. (`valueList` and the like came later and mean nothing to it.)
    ///
    /// # Errors
    /// What Label Studio 0.8 cannot load is refused, and, for safety, a DTD, which it would read.
    pub fn parse(xml: &str) -> Result<Self, LabelConfigError> {
        if xml.len() > MAX_CONFIG_BYTES {
            return Err(LabelConfigError(format!(
                "config.xml has {} bytes, more than the {MAX_CONFIG_BYTES} that are read; make the label config smaller",
                xml.len()
            )));
        }
        let xml = xml.strip_prefix('\u{feff}').unwrap_or(xml);
        refuse_declared_encoding(xml)?;
        let written = parse_xml(xml).map_err(|e| xml_error(&e, e.pos().row, e.pos().col))?;
        if written.descendants().any(|node| node.is_comment()) {
            return Self::of(&written);
        }
        // Label Studio removes line breaks from the text before it parses it, unless it had to take comments out and
        // wrote the XML anew for that. So a line break is no space between attributes.
        let joined = xml.replace(['\n', '\r'], "");
        let read = parse_xml(&joined).map_err(|e| {
            let (row, col) = position_before_joining(xml, e.pos().col);
            LabelConfigError(format!(
                "config.xml, line {row}, column {col}: Label Studio joins the lines before it reads them, and then this \
                 is no XML ({}); put a space at the start of each continued line",
                shown(&e)
            ))
        })?;
        Self::of(&read)
    }

    fn of(document: &roxmltree::Document<'_>) -> Result<Self, LabelConfigError> {
        refuse_dangling_names(document)?;
        Ok(Self { data_keys: data_keys(document) })
    }

    /// The data key that Label Studio takes for blob URLs when none is set: the first `$value` in document order.
    pub fn first_data_key(&self) -> Option<&str> {
        self.data_keys.first().map(|(key, _)| key.as_str())
    }

    /// The keys that every task's data must hold, in document order.
    pub fn data_keys(&self) -> impl Iterator<Item = (&str, DataType)> {
        self.data_keys.iter().map(|(key, data_type)| (key.as_str(), *data_type))
    }
}

impl DataType {
    /// Whether Label Studio 0.8 takes this value.
    pub fn accepts(self, value: &Value) -> bool {
        match self {
            Self::Plain => value.is_string() || value.is_number() || value.is_boolean(),
            Self::List => value.is_array(),
            Self::Object => value.is_object(),
            Self::Series => value.is_object() || value.is_array() || value.is_string(),
            Self::Nothing => value.as_str().is_some_and(str::is_empty),
            Self::Text => value.is_string(),
        }
    }

    /// What is expected, for a message.
    pub fn expected(self) -> &'static str {
        match self {
            Self::Plain => "a string or a number",
            Self::List => "a list",
            Self::Object => "an object",
            Self::Series => "an object, a list or a string",
            Self::Nothing => "an empty string (Label Studio 0.8 cannot show its own `List` tag)",
            Self::Text => "a string",
        }
    }

    fn of(tag: roxmltree::ExpandedName<'_, '_>) -> Self {
        if tag.namespace().is_some() {
            return Self::Text;
        }
        match tag.name() {
            "Text" | "Header" => Self::Plain,
            "Paragraphs" => Self::List,
            "Table" => Self::Object,
            "TimeSeries" | "TimeSeriesChannel" => Self::Series,
            "List" => Self::Nothing,
            _ => Self::Text,
        }
    }
}

/// Label Studio hands the text to its parser as characters, which then refuses to be told an encoding.
fn refuse_declared_encoding(xml: &str) -> Result<(), LabelConfigError> {
    let declaration = xml.strip_prefix("<?xml").and_then(|rest| rest.split_once("?>")).map_or("", |(head, _)| head);
    if !declaration.contains("encoding") {
        return Ok(());
    }
    Err(LabelConfigError(
        "config.xml, line 1, column 1: Label Studio 0.8 does not load a label config whose XML declaration names an \
         encoding; remove `encoding=\"…\"` (the file is always read as UTF-8)"
            .to_owned(),
    ))
}

fn parse_xml(xml: &str) -> Result<roxmltree::Document<'_>, roxmltree::Error> {
    let options = roxmltree::ParsingOptions { allow_dtd: false, nodes_limit: MAX_CONFIG_NODES, ..Default::default() };
    roxmltree::Document::parse_with_options(xml, options)
}

fn xml_error(error: &roxmltree::Error, row: u32, col: u32) -> LabelConfigError {
    LabelConfigError(match error {
        roxmltree::Error::DtdDetected => {
            "config.xml has a DTD, which labelsync does not read (entities could grow without bound); remove \
             `<!DOCTYPE …>` and write its entities out"
                .to_owned()
        }
        roxmltree::Error::NodesLimitReached => format!(
            "config.xml has more than the {MAX_CONFIG_NODES} XML nodes that are read; make the label config smaller"
        ),
        other => format!(
            "config.xml, line {row}, column {col}: {}; correct the XML there, or save the label config in Label Studio",
            shown(other)
        ),
    })
}

/// Without the place at its end: it is said at the start, and for joined lines it is another one.
fn shown(error: &roxmltree::Error) -> String {
    let text = error.to_string();
    let place = format!(" at {}", error.pos());
    let text: String = text.strip_suffix(&place).unwrap_or(&text).chars().take(MAX_ERROR_CHARS).collect();
    printable(&text).into_owned()
}

/// Line and column in `xml` of what is the `col`-th character (from 1) once its line breaks are gone.
fn position_before_joining(xml: &str, col: u32) -> (usize, usize) {
    let (mut row, mut column, mut seen) = (1, 1, 1);
    for c in xml.chars() {
        match c {
            '\n' => (row, column) = (row + 1, 1),
            '\r' => {}
            _ if seen >= col => break,
            _ => (column, seen) = (column + 1, seen + 1),
        }
    }
    (row, column)
}

/// Label Studio loads no project in which a control tag's `toName` names no object tag (0.8.2, `parse_config`): one with
/// a name and a value, which is no control tag itself.
fn refuse_dangling_names(document: &roxmltree::Document<'_>) -> Result<(), LabelConfigError> {
    let (mut objects, mut controls) = (BTreeSet::new(), Vec::new());
    for node in document.root_element().descendants().filter(roxmltree::Node::is_element) {
        let Some(name) = filled(&node, "name") else { continue };
        let is_filter = node.tag_name().namespace().is_none() && node.tag_name().name() == "Filter";
        match filled(&node, "toName").filter(|_| !is_filter) {
            Some(to) => controls.push((name, to)),
            None => objects.extend(filled(&node, "value").map(|_| name)),
        }
    }
    // A dict: of controls of one name the last counts.
    let controls: BTreeMap<&str, &str> = controls.into_iter().collect();
    for (name, to) in controls {
        if let Some(missing) = to.split(',').find(|to| !objects.contains(to)) {
            return Err(LabelConfigError(format!(
                "config.xml: `{}` has toName=\"{}\", and no tag with a value has that name, so that Label Studio does not \
                 load the project; correct toName, or save the label config in Label Studio",
                printable(name),
                printable(missing)
            )));
        }
    }
    Ok(())
}

/// An attribute that is there and not empty.
fn filled<'a>(node: &roxmltree::Node<'a, '_>, name: &str) -> Option<&'a str> {
    // `attribute(name)` would take `x:name` too.
    let attribute = node.attributes().find(|attribute| attribute.name() == name && attribute.namespace().is_none());
    attribute.map(|attribute| attribute.value()).filter(|value| !value.is_empty())
}

fn data_keys(document: &roxmltree::Document<'_>) -> Vec<(String, DataType)> {
    let mut keys = indexed::Keys::default();
    for node in document.root_element().descendants().skip(1).filter(roxmltree::Node::is_element) {
        let Some(key) = filled(&node, "value").and_then(|value| value.strip_prefix('$')) else { continue };
        if !key.is_empty() {
            keys.insert(key, DataType::of(node.tag_name()));
        }
    }
    keys.in_order()
}

/// An ordered map as Python's dict is: the first place, the last value. A label config may name 100,000 keys, so a
/// search through a list for each would not do.
mod indexed {
    use std::collections::BTreeMap;

    use super::DataType;

    #[derive(Default)]
    pub(super) struct Keys {
        places: BTreeMap<String, usize>,
        types: Vec<DataType>,
    }

    impl Keys {
        pub(super) fn insert(&mut self, key: &str, data_type: DataType) {
            if let Some(place) = self.places.get(key) {
                self.types[*place] = data_type;
                return;
            }
            self.places.insert(key.to_owned(), self.types.len());
            self.types.push(data_type);
        }

        pub(super) fn in_order(self) -> Vec<(String, DataType)> {
            let mut keys: Vec<_> = self.places.into_iter().collect();
            keys.sort_by_key(|(_, place)| *place);
            keys.into_iter().map(|(key, place)| (key, self.types[place])).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(xml: &str) -> Vec<(String, DataType)> {
        LabelConfig::parse(xml).unwrap().data_keys
    }

    fn key_names(xml: &str) -> Vec<String> {
        keys(xml).into_iter().map(|(key, _)| key).collect()
    }

    fn error(xml: &str) -> String {
        LabelConfig::parse(xml).unwrap_err().to_string()
    }

    #[test]
    fn c10_a_control_that_names_no_object_is_refused_as_label_studio_does() {
        let with = |more: &str| format!("<View><Text name=\"t\" value=\"$t\"/><Header name=\"h\"/>{more}</View>");
        let said = error(&with("<Choices name=\"c\" toName=\"t,x\"/>"));
        assert!(said.contains("`c` has toName=\"x\""), "{said}");
        for bad in [
            "<Choices name=\"c\" toName=\"h\"/>",
            "<Choices name=\"c\" toName=\"t, t\"/>",
            "<Choices name=\"c\" value=\"$d\" toName=\"c\"/>",
            "<Choices name=\"c\" toName=\"t\"/><Choices name=\"c\" toName=\"x\"/>",
        ] {
            assert!(error(&with(bad)).contains("toName"), "{bad}");
        }
        for good in [
            "<Choices name=\"c\" toName=\"t\"/>",
            "<Choices toName=\"x\"/>",
            "<Choices name=\"c\" toName=\"\"/>",
            "<Filter name=\"f\" toName=\"x\"/>",
            "<Choices name=\"c\" toName=\"x\"/><Choices name=\"c\" toName=\"t\"/>",
        ] {
            assert_eq!(key_names(&with(good)), ["t"], "{good}");
        }
    }

    #[test]
    fn c10_every_tag_has_the_type_that_label_studio_gives_it() {
        let found = keys(
            r#"<View><Header value="$h"/><Text name="t" value="$t"/><Paragraphs name="p" value="$p"/>
               <Table name="b" value="$b"/><TimeSeries name="s" value="$s"><Channel column="c"/></TimeSeries>
               <List name="l" value="$l"/><HyperText name="x" value="$x"/><Image name="i" value="$i"/>
               <Audio name="a" value="$a"/><Unknown value="$u"/><Choice value="$c"/></View>"#,
        );
        use DataType::{List, Nothing, Object, Plain, Series, Text};
        let expected = [
            ("h", Plain),
            ("t", Plain),
            ("p", List),
            ("b", Object),
            ("s", Series),
            ("l", Nothing),
            ("x", Text),
            ("i", Text),
            ("a", Text),
            ("u", Text),
            ("c", Text),
        ];
        assert_eq!(found, expected.map(|(key, data_type)| (key.to_owned(), data_type)));
    }

    // What lxml 4.9.4 and Label Studio 0.8.2's own functions answered for the same texts.
    #[test]
    fn c10_data_keys_are_found_where_label_studio_finds_them() {
        let table: [(&str, &[&str]); 14] = [
            (r#"<?xml version="1.0"?><View><Image value="$a"/></View>"#, &["a"]),
            ("\u{feff}<View><Image value=\"$a\"/></View>", &["a"]),
            ("\n <View><Image value=\"$a\"/></View>", &["a"]),
            (r#"<Image name="a" value="$a"/>"#, &[]),
            ("<View><Image\n  name=\"a\"\n  value=\"$a\"/></View>", &["a"]),
            ("<View><Image value=\"$a\nb\"/></View>", &["ab"]),
            ("<View><!-- c --><Image value=\"$a\nb\"/></View>", &["a b"]),
            ("<!-- c -->\n<View><Image\nvalue=\"$a\"/></View>", &["a"]),
            ("<View><Image value=\"$a\tb\"/></View>", &["a b"]),
            (r#"<View xmlns:x="u"><Text x:value="$a"/></View>"#, &[]),
            (
                r#"<View><Choice value="$c"/><Choice value="$"/><Choice value="$$d"/><Choice value=" $e"/></View>"#,
                &["c", "$d"],
            ),
            (r#"<View><Image value="&#36;a"/></View>"#, &["a"]),
            (r#"<?pi x?><View><?pi y?><![CDATA[<Image value="$z"/>]]><Image value="$a"/></View>"#, &["a"]),
            (r#"<View><Image valueList="$many" value="fixed"/></View>"#, &[]),
        ];
        for (xml, expected) in table {
            assert_eq!(key_names(xml), expected, "{xml}");
        }
        assert_eq!(keys(r#"<View xmlns="u"><Text value="$a"/></View>"#), [("a".to_owned(), DataType::Text)]);
    }

    #[test]
    fn the_first_data_key_stays_first_with_the_last_tags_type() {
        let config = r#"<View><Image value="$a"/><Text value="$b"/><Text value="$a"/></View>"#;
        assert_eq!(keys(config), [("a".to_owned(), DataType::Plain), ("b".to_owned(), DataType::Plain)]);
        assert_eq!(LabelConfig::parse(config).unwrap().first_data_key(), Some("a"));
        assert_eq!(LabelConfig::parse("<View></View>").unwrap().first_data_key(), None);
    }

    #[test]
    fn an_error_names_its_place_and_a_remedy() {
        let broken = error("<View>\n  <Image name=\"a\" value=\"$a\">\n</View>");
        assert!(broken.starts_with("config.xml, line 3, column 1: ") && broken.contains("correct the XML"), "{broken}");
        let joined = error("<View>\n<Image\nname=\"a\"\nvalue=\"$a\"/></View>");
        assert!(joined.starts_with("config.xml, line 3, column 5: ") && !joined.contains(" at 1:"), "{joined}");
        assert!(joined.contains("put a space at the start of each continued line"), "{joined}");
        let encoding = error("<?xml version=\"1.0\" encoding=\"utf-8\"?><View/>");
        assert!(encoding.contains("remove `encoding=\"…\"`"), "{encoding}");
        for nothing in ["", "hello", "<View/><View/>", "<View", "<x:View/>", "<View>&nbsp;</View>"] {
            assert!(error(nothing).starts_with("config.xml, line 1, column "), "{nothing:?}");
        }
    }

    #[test]
    fn no_label_config_runs_away() {
        let bomb = r#"<!DOCTYPE v [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><View>&b;</View>"#;
        assert!(error(bomb).contains("remove `<!DOCTYPE"), "{}", error(bomb));
        assert!(error(&"<a>".repeat(300_000)).contains("250000 XML nodes"));
        assert!(error(&" ".repeat(MAX_CONFIG_BYTES + 1)).contains("make the label config smaller"));
        let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
        assert_eq!(key_names(&deep), [""; 0]);
        let many: String = (0..100_000).map(|n| format!("<I value='$k{n}'/>")).collect();
        assert_eq!(key_names(&format!("<View>{many}</View>")).len(), 100_000);
        let forged = error("<View>\n</Vi\u{202e}ew>");
        assert!(!forged.contains('\u{202e}'), "{forged}");
    }
}
