//! TLS in front: with a certificate that this test makes for itself.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Version};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};

use crate::process::{ASK, PATIENCE, Proxy, Site};
use crate::provider::Provider;

type Https = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client that trusts these certificates and would speak HTTP/2 if it were offered.
fn client(roots: RootCertStore) -> Https {
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().enable_http2();
    Client::builder(TokioExecutor::new()).build(connector.build())
}

/// What the proxy answers over TLS, whole.
async fn ask(client: &Https, proxy: &Proxy, method: &str) -> Result<(Version, String), Error> {
    let address = format!("https://localhost:{}/v1beta/models/m:{method}", proxy.front.port());
    let request = Request::post(address).body(Full::from(ASK)).expect("a request");
    let answer = tokio::time::timeout(PATIENCE, client.request(request)).await.expect("it ends")?;
    assert_eq!(answer.status(), 200);
    let version = answer.version();
    let body = answer.into_body().collect().await.expect("a whole body").to_bytes();
    Ok((version, String::from_utf8(body.into()).expect("text")))
}

#[tokio::test]
async fn clients_are_served_over_tls_and_no_other_way() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let provider = Provider::start().await;
    let site = Site::new(provider.address, 1_000_000, "");
    site.write("cert.pem", &made.cert.pem());
    site.write("key.pem", &made.signing_key.serialize_pem());
    let folder = site.log().parent().expect("a folder").display().to_string();
    site.edit("drain: 20s", &format!("drain: 20s\ntls: {{cert: {folder}/cert.pem, key: {folder}/key.pem}}"));
    let proxy = site.serve().await;

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a certificate");
    let trusting = client(roots);
    for _ in 0..2 {
        let (version, body) = ask(&trusting, &proxy, "generateContent").await.expect("an answer");
        assert!(version == Version::HTTP_11 && body.contains("hello"), "{version:?} {body}");
        let (_, body) = ask(&trusting, &proxy, "streamGenerateContent?alt=sse").await.expect("an answer");
        assert!(body.contains("STOP"), "{body}");
    }

    let stranger = client(RootCertStore::empty());
    assert!(ask(&stranger, &proxy, "generateContent").await.expect_err("nobody vouches for it").is_connect());
    let plain = proxy.call("/v1beta/models/m:generateContent", "60s", ASK).await;
    assert!(plain.is_err(), "nothing is said in the clear: {plain:?}");
    assert_eq!(provider.calls().len(), 4);
    ask(&trusting, &proxy, "generateContent").await.expect("neither of them did any harm");
    proxy.is_sound();
    site.keeps_its_secrets();
}

#[tokio::test]
async fn a_certificate_that_is_none_is_named() {
    let provider = Provider::start().await;
    let site = Site::new(provider.address, 1_000_000, "");
    site.write("cert.pem", "no certificate");
    let folder = site.log().parent().expect("a folder").display().to_string();
    site.edit("drain: 20s", &format!("drain: 20s\ntls: {{cert: {folder}/cert.pem, key: {folder}/key.pem}}"));
    let checked = site.check_keys().await;
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.code() == Some(2) && said.contains("cert.pem holds no certificate"), "{said}");
    let proxy = site.spawn();
    proxy.says("cert.pem holds no certificate").await;
    assert_eq!(proxy.ended().await.code(), Some(2), "bad input");
}
