//! Servers that are wrong in one way.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::double::{Double, Reaction, Request, answer};

const XML: &str = "Content-Type: application/xml\r\n";

/// What a double of S3 refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refuses {
    Nothing,
    Read,
    Write,
}

/// Always this error of S3.
pub async fn s3_error(status: &'static str, headers: &'static str, code: &str) -> Double {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>canary</Message></Error>");
    Double::always(answer(status, &format!("{XML}{headers}"), &body)).await
}

/// Always this error of Google's.
pub async fn gcs_error(status: &'static str, reason: &str) -> Double {
    let body = format!("{{\"error\":{{\"errors\":[{{\"reason\":\"{reason}\"}}],\"message\":\"canary\"}}}}");
    Double::always(answer(status, "Content-Type: application/json\r\n", &body)).await
}

/// A bucket that holds what is put there, whatever the condition; some of it refused. Nothing is said to browsers.
pub async fn s3_bucket(objects: &[(&str, &str)], refuses: Refuses) -> Double {
    let objects: BTreeMap<String, Vec<u8>> =
        objects.iter().map(|(key, body)| ((*key).to_owned(), body.as_bytes().to_vec())).collect();
    let objects = Arc::new(Mutex::new(objects));
    Double::start(move |_, request| react(request, &mut objects.lock().expect("whole"), refuses)).await
}

fn react(request: &Request, objects: &mut BTreeMap<String, Vec<u8>>, refuses: Refuses) -> Reaction {
    let denied = || answer("403 Forbidden", XML, "<Error><Code>AccessDenied</Code></Error>");
    let (method, rest) = request.line.split_once(' ').expect("a request");
    let target = rest.split(' ').next().expect("a target");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let key = path.strip_prefix("/bucket").unwrap_or_default().trim_start_matches('/').to_owned();
    match (method, key.as_str()) {
        ("GET", "") => answer("200 OK", XML, &listing(objects, query)),
        ("GET" | "HEAD", _) if refuses == Refuses::Read => denied(),
        ("GET" | "HEAD", key) => match objects.get(key) {
            Some(body) => {
                let body = String::from_utf8(body.clone()).expect("text");
                answer("200 OK", &format!("ETag: \"{}\"\r\n", body.len()), &body)
            }
            None => answer("404 Not Found", XML, "<Error><Code>NoSuchKey</Code></Error>"),
        },
        ("PUT", _) if refuses == Refuses::Write => denied(),
        ("PUT", key) => {
            let etag = request.body.len();
            objects.insert(key.to_owned(), request.body.clone());
            answer("200 OK", &format!("ETag: \"{etag}\"\r\n"), "")
        }
        _ => denied(),
    }
}

fn listing(objects: &BTreeMap<String, Vec<u8>>, query: &str) -> String {
    let prefix = query.split('&').find_map(|part| part.strip_prefix("prefix=")).unwrap_or_default().replace("%2F", "/");
    let shown: String = objects
        .iter()
        .filter(|(key, _)| key.starts_with(&prefix) && !key.starts_with(".labelsync"))
        .map(|(key, body)| {
            format!("<Contents><Key>{key}</Key><ETag>&quot;{0}&quot;</ETag><Size>{0}</Size></Contents>", body.len())
        })
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult \
         xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>bucket</Name><EncodingType>url</EncodingType>\
         <IsTruncated>false</IsTruncated>{shown}</ListBucketResult>"
    )
}

/// A server whose certificate nobody trusts; its endpoint. It ends with the test program.
pub fn untrusted() -> String {
    rustls::crypto::ring::default_provider().install_default().ok();
    let pem = include_bytes!("self-signed.pem");
    let certificates = vec![CertificateDer::from_pem_slice(pem).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(pem).expect("a key");
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(certificates, key);
    let config = Arc::new(config.expect("a server"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("https://localhost:{}", listener.local_addr().expect("bound").port());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), Ok(mut tls)) = (stream, rustls::ServerConnection::new(config.clone())) else { return };
            let mut tls = rustls::Stream::new(&mut tls, &mut stream);
            // A client that does not trust it goes away here.
            if tls.read(&mut [0; 1024]).is_ok() {
                tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok();
            }
        }
    });
    endpoint
}
