//! Images that a request names by address, fetched for providers that want the bytes: only if the configuration allows
//! it, and never from where a stranger could not reach.
//!
//! A client chooses the address, so every fetch is an attempt to make this machine talk to something. Names are resolved
//! here and only public addresses are connected to (so that a name cannot change its meaning between the check and the
//! call), redirects are not followed, and size and time are bounded.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use rustls::RootCertStore;
use tower_service::Service;

use crate::wire::{Fetched, Refusal};

/// The most images of one request.
const COUNT_MAX: usize = 16;

/// What may be fetched.
#[derive(Clone, Copy, Debug)]
pub struct ImageRules {
    /// The largest image, in bytes.
    pub size_max: usize,
    /// The longest fetch.
    pub timeout: std::time::Duration,
}

/// Fetches images from public addresses.
#[derive(Clone)]
pub(super) struct Images(Client<HttpsConnector<HttpConnector<PublicNames>>, Full<Bytes>>);

impl Images {
    /// A fetcher that trusts the web's authorities.
    ///
    /// # Errors
    /// When the TLS library refuses its own defaults.
    pub(super) fn new() -> Result<Self, rustls::Error> {
        let mut http = HttpConnector::new_with_resolver(PublicNames);
        http.enforce_http(false);
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()))
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_max_idle_per_host(0);
        Ok(Self(client.build(connector.wrap_connector(http))))
    }

    /// Fetches all of these, or says which one cannot be had. Without rules nothing is fetched.
    pub(super) async fn fetch(&self, addresses: &[String], rules: Option<ImageRules>) -> Result<Vec<Fetched>, Refusal> {
        let Some(rules) = rules else {
            let first = addresses.first().map_or("", String::as_str);
            return Err(refuse(first, "is not fetched by this proxy; send the image itself, as a `data:` address"));
        };
        if addresses.len() > COUNT_MAX {
            return Err(refuse(&addresses[COUNT_MAX], "is one image too many"));
        }
        let mut fetched = Vec::with_capacity(addresses.len());
        for address in addresses {
            let image = tokio::time::timeout(rules.timeout, self.fetch_one(address, rules.size_max)).await;
            fetched.push(image.map_err(|_elapsed| refuse(address, "takes too long to fetch"))??);
        }
        Ok(fetched)
    }

    async fn fetch_one(&self, address: &str, size_max: usize) -> Result<Fetched, Refusal> {
        let uri: Uri = address.parse().map_err(|_not_one| refuse(address, "is not an address"))?;
        check_literal(&uri).map_err(|problem| refuse(address, problem))?;
        let request =
            Request::get(uri).body(Full::default()).map_err(|_invalid| refuse(address, "is not an address"))?;
        let answer = self.0.request(request).await.map_err(|_unreachable| refuse(address, "cannot be fetched"))?;
        let (head, body) = answer.into_parts();
        if !head.status.is_success() {
            return Err(refuse(address, &format!("cannot be fetched: its server says {}", head.status.as_u16())));
        }
        let mime_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mime_type = mime_type.split(';').next().unwrap_or_default().trim().to_owned();
        if !mime_type.starts_with("image/") {
            return Err(refuse(address, "is not an image"));
        }
        let body = Limited::new(body, size_max).collect().await;
        let bytes = body.map_err(|_too_large_or_cut| refuse(address, "is too large, or broke off"))?.to_bytes();
        Ok(Fetched { url: address.to_owned(), mime_type, bytes: bytes.to_vec() })
    }
}

fn refuse(address: &str, problem: &str) -> Refusal {
    let shown: String = address.chars().take(200).collect();
    Refusal::BadRequest { param: "image_url".to_owned(), problem: format!("`{shown}` {problem}") }
}

/// An address may name a host by number, which no resolver sees.
fn check_literal(uri: &Uri) -> Result<(), &'static str> {
    let host = uri.host().ok_or("has no host")?;
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(number) if !is_public(number) => Err("is not a public address"),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Resolves names to their public addresses.
#[derive(Clone, Copy, Debug)]
struct PublicNames;

impl Service<Name> for PublicNames {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(async move {
            // The connector puts the port in.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(std::io::Error::other("no public address"));
            }
            Ok(public.into_iter())
        })
    }
}

/// Whether an address is anybody's: neither this machine nor its networks. RFC 6890 lists the others.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation();
    // This network; shared by carriers; protocol assignments; benchmarks; reserved.
    let reserved =
        a == 0 || (a == 100 && b & 0xc0 == 64) || (a, b, c) == (192, 0, 0) || (a == 198 && b & 0xfe == 18) || a >= 240;
    !special && !reserved
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // Addresses that carry one of the other kind: mapped, translated (64:ff9b::/96), 6to4.
    let inner = address.to_ipv4_mapped().or(match segments {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => Some(joined(high, low)),
        _ => None,
    });
    match inner {
        Some(inner) => is_public_v4(inner),
        // Only 2000::/3 is given out; of it 2001:db8::/32 is for documents.
        None => segments[0] & 0xe000 == 0x2000 && (segments[0], segments[1]) != (0x2001, 0x0db8),
    }
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_known_in_every_disguise() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "198.18.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2001:db8::1",
        ] {
            assert!(!is_public(private.parse().expect("an address")), "{private}");
        }
        for public in ["8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"] {
            assert!(is_public(public.parse().expect("an address")), "{public}");
        }
    }

    #[tokio::test]
    async fn nothing_is_fetched_unless_allowed_and_nothing_private_ever() {
        let images = Images::new().expect("TLS works");
        let asked = |address: &str| vec![address.to_owned()];
        let rules = ImageRules { size_max: 1000, timeout: std::time::Duration::from_secs(5) };
        let refused = images.fetch(&asked("https://example.com/a.png"), None).await.expect_err("not allowed");
        assert!(refused.to_string().contains("is not fetched by this proxy"), "{refused}");
        for private in ["http://127.0.0.1:1/a.png", "http://[::1]:1/a.png", "http://[::ffff:10.0.0.1]/a.png"] {
            let refused = images.fetch(&asked(private), Some(rules)).await.expect_err("private");
            assert!(refused.to_string().contains("is not a public address"), "{refused}");
        }
        // A name that means this machine.
        let refused = images.fetch(&asked("http://localhost:1/a.png"), Some(rules)).await.expect_err("private");
        assert!(refused.to_string().contains("cannot be fetched"), "{refused}");
    }
}
