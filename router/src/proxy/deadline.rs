//! When a client stops caring: by its own word, or by the model's rule.

use http::{HeaderMap, HeaderName};

use super::live::Rules;
use crate::core::Duration;

/// What google-genai sends for a client's timeout: whole seconds.
const GOOGLE: HeaderName = HeaderName::from_static("x-server-timeout");
/// What OpenAI's SDKs send for it: seconds, possibly with a fraction.
const STAINLESS: HeaderName = HeaderName::from_static("x-stainless-read-timeout");

/// How long a request may take: the first of the named header, `X-Server-Timeout`, `x-stainless-read-timeout` that can
/// be read, else the model's own, within the bounds. A header that cannot be read says nothing.
pub(super) fn deadline(headers: &HeaderMap, rules: &Rules, model: Duration) -> Duration {
    let said = [&rules.deadline_header, &GOOGLE, &STAINLESS]
        .into_iter()
        .filter_map(|name| headers.get(name)?.to_str().ok()?.parse::<Duration>().ok())
        .find(|said| *said > Duration::ZERO);
    said.unwrap_or(model).min(rules.deadline_max).max(rules.deadline_min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_word_counts_within_bounds() {
        let rules = Rules {
            deadline_header: HeaderName::from_static("x-deadline"),
            deadline_min: Duration::from_secs(1),
            deadline_max: Duration::from_secs(600),
            body_max: 1,
            early_stream: None,
            images: None,
        };
        let model = Duration::from_secs(180);
        let of = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("ok")));
            deadline(&headers.collect(), &rules, model)
        };
        assert_eq!(of(&[]), model);
        assert_eq!(of(&[("x-stainless-read-timeout", "30")]), Duration::from_secs(30));
        assert_eq!(of(&[("x-stainless-read-timeout", "30"), ("x-server-timeout", "20")]), Duration::from_secs(20));
        assert_eq!(of(&[("x-server-timeout", "20"), ("x-deadline", "2m")]), Duration::from_secs(120));
        assert_eq!(of(&[("x-deadline", "soon"), ("x-server-timeout", "20")]), Duration::from_secs(20));
        assert_eq!(of(&[("x-deadline", "1ms")]), Duration::from_secs(1), "never below the least");
        assert_eq!(of(&[("x-deadline", "7d")]), Duration::from_secs(600), "never above the most");
        assert_eq!(of(&[("x-deadline", "0")]), model, "no time at all is no deadline");
    }
}
