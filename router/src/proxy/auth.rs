//! Who asks.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, Uri};
use sha2::{Digest, Sha256};

const GOOGLE_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// The token that a client shows, wherever its SDK puts it: `Authorization: Bearer`, `x-goog-api-key`, `api-key`, or
/// `?key=` in the address. None of it ever goes upstream.
pub(super) fn token<'a>(headers: &'a HeaderMap, address: &'a Uri) -> Option<&'a str> {
    let header = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    bearer(headers).or_else(|| header(GOOGLE_KEY)).or_else(|| header(API_KEY)).or_else(|| query_key(address))
}

/// Whether a client speaks Gemini by its credentials: what decides on `/v1/models`, which both APIs have.
pub(super) fn shows_google_key(headers: &HeaderMap, address: &Uri) -> bool {
    headers.contains_key(GOOGLE_KEY) || (query_key(address).is_some() && bearer(headers).is_none())
}

/// The digest by which a token is known.
pub(super) fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn query_key(address: &Uri) -> Option<&str> {
    address.query()?.split('&').find_map(|pair| pair.strip_prefix("key="))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn a_token_is_found_wherever_an_sdk_puts_it() {
        let plain = Uri::from_static("/v1/chat/completions");
        let keyed = Uri::from_static("/v1beta/models?pageSize=5&key=t4");
        assert_eq!(token(&headers(&[("authorization", "Bearer t1")]), &plain), Some("t1"));
        assert_eq!(token(&headers(&[("authorization", "bearer  t1")]), &plain), Some("t1"));
        assert_eq!(token(&headers(&[("x-goog-api-key", "t2")]), &plain), Some("t2"));
        assert_eq!(token(&headers(&[("api-key", "t3")]), &plain), Some("t3"));
        assert_eq!(token(&headers(&[]), &keyed), Some("t4"));
        assert_eq!(token(&headers(&[("authorization", "Basic eDp5")]), &plain), None);
    }

    #[test]
    fn credentials_tell_the_two_model_lists_apart() {
        let plain = Uri::from_static("/v1/models");
        let keyed = Uri::from_static("/v1/models?key=t");
        assert!(shows_google_key(&headers(&[("x-goog-api-key", "t")]), &plain));
        assert!(shows_google_key(&headers(&[]), &keyed));
        assert!(!shows_google_key(&headers(&[("authorization", "Bearer t")]), &plain));
        assert!(!shows_google_key(&headers(&[]), &plain));
    }
}
