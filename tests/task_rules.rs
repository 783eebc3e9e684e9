//! Which objects become tasks, which tasks may stand in `tasks.json`, which files are completions: promise by promise.
//!
//! Promise: each test fails without the code that keeps what its name says.
//! Not here: the recorded cases of Label Studio (`task_vectors.rs`).

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use labelsync::names::TaskId;
use labelsync::project::label_config::LabelConfig;
use labelsync::project::rejected::REMEDIES;
use labelsync::project::strict_json::{Duplicates, JsonLimits, MAX_OWN_DEPTH, parse};
use labelsync::project::validate::{
    BodyRules, CompletionFacts, MAX_TASK_BYTES, MAX_TASK_VALUES, Rejected, TaskBody, TaskLimits, blob_task, check_task,
    check_url, completion_file, task_from_object,
};
use labelsync::sync::canon;
use proptest::prelude::*;
use serde_json::{Value, json};

const IMAGE: &str = r#"<View><Image name="image" value="$image"/></View>"#;

#[test]
fn c10_every_tag_takes_what_label_studio_takes() {
    let values =
        [json!("s"), json!(""), json!(5), json!(5.5), json!(true), json!(null), json!([1]), json!([]), json!({"a": 1})];
    let text = [true, true, false, false, false, false, false, false, false];
    let plain = [true, true, true, true, true, false, false, false, false];
    let table = [
        ("Text", plain),
        ("Header", plain),
        ("Paragraphs", [false, false, false, false, false, false, true, true, false]),
        ("Table", [false, false, false, false, false, false, false, false, true]),
        ("TimeSeries", [true, true, false, false, false, false, true, true, true]),
        ("List", [false, true, false, false, false, false, false, false, false]),
        ("HyperText", text),
        ("Image", text),
        ("Audio", text),
        ("AudioPlus", text),
        ("Choice", text),
        ("Whatever", text),
    ];
    for (tag, accepted) in table {
        let config = config(&format!(r#"<View><{tag} name="n" value="$k"/></View>"#));
        for (value, accepted) in values.iter().zip(accepted) {
            let outcome =
                task_from_object(json!({ "k": value }).to_string().as_bytes(), BodyRules::Utf8, &config, &limits());
            assert_eq!(code_of(outcome), if accepted { "ok" } else { "data_wrong_type" }, "{tag} {value}");
        }
    }
}

#[test]
fn c10_a_changed_label_config_is_checked_against_the_stored_task() {
    let body = accept(r#"{"data": {"image": "i"}, "meta": {"a": 1}}"#);
    let stored = TaskBody::from_stored(body.to_stored()).unwrap();
    assert_eq!(check_task(&stored.fields(), &config(IMAGE)), Ok(()));
    let other = config(r#"<View><Image value="$image"/><Text value="$caption"/></View>"#);
    let rejected = check_task(&stored.fields(), &other).unwrap_err();
    assert_eq!((rejected.code, rejected.detail.as_str()), ("data_missing_key", "the data have no key `caption`"));
    assert_eq!(rejected.remedy(), "add the key to the data, or correct the label config or `data_key`");
    // What others put into tasks.json: bare data, and the key that Label Studio renames when it looks.
    assert_eq!(check_task(json!({"image": "x"}).as_object().unwrap(), &config(IMAGE)), Ok(()));
    assert_eq!(check_task(json!({"data": {"$undefined$": "x"}}).as_object().unwrap(), &config(IMAGE)), Ok(()));
    let wrong = json!({"data": {"$undefined$": 5, "image": "x"}});
    assert_eq!(check_task(wrong.as_object().unwrap(), &config(IMAGE)).unwrap_err().code, "data_wrong_type");
}

#[test]
fn c10_blob_tasks_are_one_url_under_the_data_key() {
    let body = blob_task("s3://bucket/a b/é%20+.jpg", "image");
    assert_eq!(body.to_json(id(7)), r#"{"id": 7, "data": {"image": "s3://bucket/a b/é%20+.jpg"}}"#);
    assert_eq!(body.data_hash, canon::hash(&json!({"image": "s3://bucket/a b/é%20+.jpg"})));
    assert_eq!(check_task(&body.fields(), &config(IMAGE)), Ok(()));
    assert_eq!(check_task(&blob_task("s3://b/k", "").fields(), &config("<View></View>")), Ok(()));
    assert_eq!(
        check_task(&blob_task("s3://b/k", "foo").fields(), &config(IMAGE)).unwrap_err().code,
        "data_missing_key"
    );
}

#[test]
fn c11_what_label_studio_cannot_read_back_is_refused() {
    let refused = [
        ("NaN", "number_out_of_range"),
        ("-Infinity", "number_out_of_range"),
        ("1e400", "number_out_of_range"),
        ("-1.5E+999", "number_out_of_range"),
        ("18446744073709551616", "number_out_of_range"),
        ("-9223372036854775809", "number_out_of_range"),
        (r#""\ud800""#, "lone_surrogate"),
        (r#""\udc00x""#, "lone_surrogate"),
        (r#""\udc00\ud800""#, "lone_surrogate"),
        (r#""\ud800\n\udc00""#, "lone_surrogate"),
        (r#""\ud800\ud800\udc00""#, "lone_surrogate"),
    ];
    for (value, code) in refused {
        assert_eq!(code_of(task(&format!(r#"{{"image": "i", "x": [{value}]}}"#))), code, "{value}");
        let file = format!(r#"{{"id": 1, "data": {{"x": {value}}}, "completions": []}}"#);
        assert_eq!(completion_file(file.as_bytes(), id(1), &TaskLimits::of_completions()).unwrap_err().code, code);
    }
    let nested = |depth: usize| format!(r#"{{"image": "i", "x": {}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
    assert_eq!(code_of(task(&nested(400))), "ok");
    assert_eq!(code_of(task(&nested(401))), "too_deep");
}

#[test]
fn c11_a_negative_zero_is_what_python_reads() {
    let body = accept(r#"{"image": "-0", "x": [-0, -0.0, -0e0, 1e-0, {"-0": -0}]}"#);
    let expected = r#"{"id": 7, "data": {"image": "-0", "x": [0, -0.0, -0.0, 1.0, {"-0": 0}]}}"#;
    assert_eq!(body.to_json(id(7)), expected);
}

#[test]
fn c11_what_it_can_read_back_is_kept_exactly() {
    let kept = "[18446744073709551615,-9223372036854775808,1.7976931348623157e308,5e-324,0.30000000000000004,\
                -0.0,1e22,123456789.12345679,\"\\ud83d\\ude00\\\\ud800 \\u0000\",\"NaN 1e400 [[\",1]";
    let body = accept(&format!(r#"{{"image": "i", "x": {kept}}}"#));
    let written: Value = serde_json::from_str(&body.to_json(id(0))).unwrap();
    assert_eq!(written["data"]["x"], serde_json::from_str::<Value>(kept).unwrap());
    assert!(body.to_stored().contains("18446744073709551615, -9223372036854775808, 1.7976931348623157e+308, 5e-324"));
}

#[test]
fn c12_c13_urls_that_label_studio_cannot_resolve_are_refused() {
    let refused = [
        "s3://",
        "s3:///k",
        "s3://b",
        "s3://b/",
        "gs://",
        "gs:///k",
        "gs://b",
        "gs://b/",
        "s3://b!/k",
        "s3://u:p@b/k",
        "s3://arn:aws:s3:us-east-1:1:accesspoint:a/k",
        "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/a/k",
        "s3://arn:aws:s3:us-east-1:123456789012:bucket:a/k",
        "s3://b?x/k",
        "s3://b#x/k",
        "s3://[b/k",
        "s3://bü/k",
        "s3://b c/k",
        "gs://-b/k",
        "gs://b_/k",
        "gs://é/k",
        "s3://b//k",
        "gs://b//k",
        "s3://b/a?b",
        "gs://b/?",
        "s3://b/a\tb",
        "s3://b/a\n",
        "gs://b/\rb",
    ];
    for url in refused {
        assert_eq!(check_url(url).unwrap_err().code, "unresolvable_url", "{url:?}");
        assert_eq!(code_of(task(&json!({ "image": url }).to_string())), "unresolvable_url", "{url:?}");
        assert_eq!(
            code_of(task(&json!({"data": {"image": "i", "x": url}}).to_string())),
            "unresolvable_url",
            "{url:?}"
        );
    }
    let long = format!("s3://{}/k", "b".repeat(256));
    assert_eq!(check_url(&long).unwrap_err().code, "unresolvable_url");
    let fetched = [
        "s3://b/k",
        "gs://my.bucket_1/a//b",
        "s3://arn:aws:s3:us-east-1:123456789012:accesspoint:a/k",
        "s3://B-1/ %+#&;'\"é/../x/",
        "s3://b/a/\u{1}",
        "S3://",
        " s3://",
        "s3:/",
        "http://h/?q",
        "",
        "azure://x",
    ];
    for url in fetched {
        assert_eq!(check_url(url), Ok(()), "{url:?}");
    }
    // Only strings at the top level of the data are resolved.
    assert_eq!(
        code_of(task(r#"{"data": {"image": "i", "x": ["s3://"], "y": {"z": "gs://"}}, "meta": {"u": "s3://"}}"#)),
        "ok"
    );
}

#[test]
fn c14_only_the_fields_that_every_version_knows_are_written() {
    let body = accept(
        r#"{"foo": 1, "completions": [{"result": []}], "meta": {"m": 1}, "id": 77, "predictions": [], "data": {"z": 1, "image": "i"}}"#,
    );
    let expected = r#"{"id": 3, "data": {"z": 1, "image": "i"}, "meta": {"m": 1}, "predictions": [], "completions": [{"result": []}]}"#;
    assert_eq!(body.to_json(id(3)), expected);
    // Without `data` everything is data, also an id; but Label Studio asks for the length of these two.
    assert_eq!(code_of(task(r#"{"image": "i", "completions": null}"#)), "completions_invalid");
    assert_eq!(code_of(task(r#"{"image": "i", "predictions": 1}"#)), "predictions_invalid");
    assert_eq!(code_of(task(r#"{"image": "i", "predictions": "", "completions": {}}"#)), "ok");
    assert_eq!(accept(r#"[{"id": 7, "image": "i"}]"#).to_json(id(3)), r#"{"id": 3, "data": {"id": 7, "image": "i"}}"#);
}

#[test]
fn c14_the_stored_body_is_what_was_accepted_and_nothing_else() {
    let body = accept(&format!(r#"{{"image": "é\n", "x": {}1{}}}"#, "[".repeat(399), "]".repeat(399)));
    assert_eq!(TaskBody::from_stored(body.to_stored()), Ok(body.clone()));
    assert_eq!(body.to_json(id(9)).lines().count(), 1);
    let damaged = [
        "",
        "{",
        "{}",
        "[]",
        r#"{"data": {"a": 1}, "id": 3}"#,
        r#"{"meta": {}, "data": {}}"#,
        r#"{"data": [1]}"#,
        r#"{"data": {}, "foo": 1}"#,
        r#"{"data": {}} x"#,
        " {\"data\": {}}",
        "{\"data\":\n{}}",
        r#"{"data": {"a": 1, "a": 2}}"#,
    ];
    for text in damaged {
        assert_eq!(TaskBody::from_stored(text).unwrap_err().code, "stored_damaged", "{text:?}");
    }
}

#[test]
fn c16_a_completion_file_is_whole_and_of_this_task() {
    let file = r#"{"completions": [{"result": [{"a": 1}], "id": 5001}, {"result": [], "was_cancelled": true}], "data": {"image": "i"}, "id": 5, "x": 1}"#;
    let facts = CompletionFacts {
        data_hash: canon::hash(&json!({"image": "i"})),
        canonical: canon::hash(&serde_json::from_str(file).unwrap()),
        completions: 2,
    };
    assert_eq!(completion(file), Ok(facts));
    let refused = [
        "null",
        "[]",
        "5",
        "{}",
        r#"{"id": 6, "data": {}, "completions": []}"#,
        r#"{"id": "5", "data": {}, "completions": []}"#,
        r#"{"id": 5.0, "data": {}, "completions": []}"#,
        r#"{"id": -5, "data": {}, "completions": []}"#,
        r#"{"id": 5, "completions": []}"#,
        r#"{"id": 5, "data": [], "completions": []}"#,
        r#"{"id": 5, "data": {}}"#,
        r#"{"id": 5, "data": {}, "completions": {}}"#,
        r#"{"id": 5, "data": {}, "completions": [{}]}"#,
        r#"{"id": 5, "data": {}, "completions": [{"result": []}, {"result": {}}]}"#,
        r#"{"id": 5, "data": {}, "completions": ["result"]}"#,
    ];
    for text in refused {
        assert_eq!(completion(text).unwrap_err().code, "not_a_completion", "{text}");
    }
    for text in [r#"{"id": 5, "data": {}, "completions": []} x"#, r#"{"id": 5, "data": {},, "completions": []}"#] {
        assert_eq!(completion(text).unwrap_err().code, "not_json", "{text}");
    }
}

#[test]
fn c17_no_completions_left_is_a_state_too() {
    assert_eq!(completion(r#"{"id": 5, "data": {"image": "i"}, "completions": []}"#).unwrap().completions, 0);
    let (a, b) =
        (r#"{"id":5,"data":{"u":"a\/b"},"completions":[]}"#, r#"{ "completions": [], "data": {"u": "a/b"}, "id": 5 }"#);
    assert_eq!(completion(a), completion(b));
}

#[test]
fn l20_a_completion_file_cut_at_any_byte_is_torn() {
    let file = r#"{"id": 5, "data": {"image": "é\"😀\\", "n": 12345678901234567890.5}, "completions": [{"result": [{"v": [1e300, true, null]}]}]}"#;
    assert!(completion(file).is_ok());
    for end in 0..file.len() {
        let cut = completion_file(&file.as_bytes()[..end], id(5), &TaskLimits::of_completions());
        assert_eq!(cut.unwrap_err().code, "torn", "{end}");
    }
    assert_eq!(completion("  \n").unwrap_err().code, "torn");
    assert_eq!(
        completion_file(b"{\"id\": \"\xff\"}", id(5), &TaskLimits::of_completions()).unwrap_err().code,
        "not_utf8"
    );
}

#[test]
fn l73_hostile_bodies_are_refused_with_their_reason() {
    let utf16: Vec<u8> = r#"{"image":"é"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = [b"\xef\xbb\xbf".as_slice(), br#"{"image":"i"}"#].concat();
    let million = format!(r#"{{"image":"i","x":[{}0]}}"#, "0,".repeat(1_000_000));
    let keys: String = (0..MAX_TASK_VALUES).map(|n| format!(r#","k{n}":0"#)).collect();
    let table: [(&str, Vec<u8>); 13] = [
        ("too_large", vec![b' '; MAX_TASK_BYTES + 1]),
        (
            "too_deep",
            "[".repeat(1_000_000).into_bytes().into_iter().chain("]".repeat(1_000_000).into_bytes()).collect(),
        ),
        ("not_json", "[".repeat(MAX_TASK_BYTES).into_bytes()),
        ("too_deep", format!("{}{}", r#"{"a":"#.repeat(401), "}".repeat(401)).into_bytes()),
        ("too_many_values", million.into_bytes()),
        ("too_many_values", format!(r#"{{"image":"i"{keys}}}"#).into_bytes()),
        ("duplicate_key", br#"{"image":"a","image":"b"}"#.to_vec()),
        ("duplicate_key", br#"{"image":"a","x":[{"\u0061":1,"a":1}]}"#.to_vec()),
        ("not_utf8", utf16),
        ("not_utf8", marked),
        ("not_utf8", b"{\"image\":\"\xe9\"}".to_vec()),
        ("compressed", b"\x1f\x8b\x08\0\0\0\0\0".to_vec()),
        ("compressed", b"\x28\xb5\x2f\xfd\0".to_vec()),
    ];
    for (code, body) in table {
        let start = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        let rejected = task_from_object(&body, BodyRules::Utf8, &config(IMAGE), &limits()).unwrap_err();
        assert_eq!(rejected.code, code, "{start}");
        assert!(rejected.detail.len() < 300 && !rejected.remedy().is_empty(), "{rejected}");
        assert!(REMEDIES.iter().any(|(listed, _)| *listed == code));
    }
}

#[test]
fn l73_gcs_bodies_may_be_any_unicode_as_label_studio_reads_them() {
    let text = r#"{"image":"é😀"}"#;
    let le = |units: Vec<u16>| units.into_iter().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let be = |units: Vec<u16>| units.into_iter().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    let points_le =
        |mark: &str| format!("{mark}{text}").chars().flat_map(|c| (c as u32).to_le_bytes()).collect::<Vec<u8>>();
    let points_be =
        |mark: &str| format!("{mark}{text}").chars().flat_map(|c| (c as u32).to_be_bytes()).collect::<Vec<u8>>();
    let units = |mark: &str| format!("{mark}{text}").encode_utf16().collect::<Vec<u16>>();
    let mark = "\u{feff}";
    let bodies = [
        text.as_bytes().to_vec(),
        format!("{mark}{text}").into_bytes(),
        le(units("")),
        be(units("")),
        le(units(mark)),
        be(units(mark)),
        points_le(""),
        points_be(""),
        points_le(mark),
        points_be(mark),
    ];
    let expected = accept(text);
    for (number, body) in bodies.iter().enumerate() {
        assert_eq!(
            task_from_object(body, BodyRules::AnyUnicode, &config(IMAGE), &limits()),
            Ok(expected.clone()),
            "{number}"
        );
        let strict = task_from_object(body, BodyRules::Utf8, &config(IMAGE), &limits());
        assert_eq!(code_of(strict), if number == 0 { "ok" } else { "not_utf8" }, "{number}");
    }
    let twice = [mark, mark, text].concat();
    let lone = le(r#"{"image":"?"}"#.encode_utf16().map(|unit| if unit == 0x3f { 0xd800 } else { unit }).collect());
    for (code, body) in [
        ("not_json", twice.as_bytes()),
        ("lone_surrogate", &lone),
        ("not_utf8", &lone[..lone.len() - 1]),
        ("not_utf8", b"{\0\0\0\0\0\x11\0"),
        ("not_utf8", b"{\"image\":\"\xed\xa0\x80\"}"),
    ] {
        assert_eq!(code_of(task_from_object(body, BodyRules::AnyUnicode, &config(IMAGE), &limits())), code);
    }
}

#[test]
fn l73_the_deepest_accepted_body_needs_little_stack() {
    let body = format!(r#"{{"image": "i", "x": {}1{}}}"#, r#"{"a":["#.repeat(199), "]}".repeat(199));
    // Half of what a worker thread has, and this is the debug build.
    let on_small_stack = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
        let body = accept(&body);
        let fields = TaskBody::from_stored(body.to_stored()).unwrap().fields();
        assert_eq!(check_task(&fields, &config(IMAGE)), Ok(()));
        assert_eq!(canon::hash(&fields["data"]), body.data_hash);
    });
    on_small_stack.unwrap().join().unwrap();
}

proptest! {
    #[test]
    fn l73_no_bytes_panic_and_what_is_accepted_is_kept(body in bodies(), any_unicode: bool) {
        let rules = if any_unicode { BodyRules::AnyUnicode } else { BodyRules::Utf8 };
        let _ = completion_file(&body, id(5), &TaskLimits::of_completions());
        let _ = TaskBody::from_stored(&String::from_utf8_lossy(&body));
        let _ = LabelConfig::parse(&String::from_utf8_lossy(&body));
        if let Ok(task) = task_from_object(&body, rules, &config("<View></View>"), &limits()) {
            let limits = JsonLimits { depth: MAX_OWN_DEPTH, values: usize::MAX };
            let written = parse(&task.to_json(id(5)), &limits, Duplicates::Refuse).unwrap();
            if let Ok(text) = std::str::from_utf8(&body) {
                let read: Value = serde_json::from_str(text.trim_start_matches('\u{feff}')).unwrap();
                let read = read.get(0).unwrap_or(&read);
                prop_assert_eq!(&written["data"], read.get("data").unwrap_or(read));
            }
            prop_assert_eq!(&written["id"], &json!(5));
            prop_assert_eq!(TaskBody::from_stored(task.to_stored()), Ok(task.clone()));
            prop_assert_eq!(canon::hash(&written["data"]), task.data_hash);
        }
    }
}

/// Anything, things close to JSON, and JSON with a few bytes changed.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    let key = prop_oneof!["data|meta|id|completions|predictions|result|image", ".{0,3}"];
    let value = leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    });
    let text = value.prop_map(|value| value.to_string().into_bytes());
    let changed = (text.clone(), prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)).prop_map(
        |(mut text, changes)| {
            for (place, byte) in changes {
                *place.get_mut(&mut text) = byte;
            }
            text
        },
    );
    let soup = r#"[\[\]{}":,0-9eE.\\ud8cNaInfity -]{0,60}"#.prop_map(String::into_bytes);
    prop_oneof![text, changed, soup, prop::collection::vec(any::<u8>(), 0..80)]
}

#[test]
fn l93_a_refusal_says_what_and_where_without_the_data() {
    let table = [
        (r#"{"img": "secret"}"#, "the data have no key `image` (data_missing_key)"),
        (r#"{"image": ["secret"]}"#, "data key `image` is a list, expected is a string (data_wrong_type)"),
        (r#"{"data": "secret"}"#, "`data` is a string, no object (data_not_object)"),
        (r#"{"data": ["image"]}"#, "`data` is a list, no object (data_not_object)"),
        (r#"[{"image": "secret"}, {}]"#, "a list of 2 items (not_one_task)"),
        (r#"["secret"]"#, "a string, no object (not_one_task)"),
        (r#"{"data": {"image": "i"}, "meta": null}"#, "`meta` is null, no object and no list (meta_invalid)"),
        (
            r#"{"data": {"image": "i"}, "predictions": [{"result": []}, {"score": 1}]}"#,
            "`predictions[1]` has no list `result` (predictions_invalid)",
        ),
        (r#"{"data": {"image": "i"}, "completions": null}"#, "`completions` is null, no list (completions_invalid)"),
        (r#"{"image": "secret"} x"#, "trailing characters at line 1 column 21 (not_json)"),
        (r#"{"image": "i", "x": -1e999}"#, "a number beyond ±1.8e308 at byte 20 (number_out_of_range)"),
    ];
    for (body, expected) in table {
        assert_eq!(task(body).unwrap_err().to_string(), expected);
    }
}

fn config(xml: &str) -> LabelConfig {
    LabelConfig::parse(xml).unwrap()
}

fn limits() -> TaskLimits {
    TaskLimits::default()
}

fn id(number: u64) -> TaskId {
    TaskId::new(number).unwrap()
}

fn task(body: &str) -> Result<TaskBody, Rejected> {
    task_from_object(body.as_bytes(), BodyRules::Utf8, &config(IMAGE), &limits())
}

fn accept(body: &str) -> TaskBody {
    task(body).unwrap()
}

fn code_of(outcome: Result<TaskBody, Rejected>) -> &'static str {
    outcome.map_or_else(|rejected| rejected.code, |_| "ok")
}

fn completion(text: &str) -> Result<CompletionFacts, Rejected> {
    completion_file(text.as_bytes(), id(5), &TaskLimits::of_completions())
}
