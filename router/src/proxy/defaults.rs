//! The first minutes: a proxy for whoever has set one variable and written no file.

use std::sync::Arc;

use super::reload::Source;
use crate::config::Environment;

/// The variable that is enough to begin with: keys, separated by commas.
pub const KEYS_VARIABLE: &str = "GEMINI_API_KEYS";

/// What is served when nothing is written.
const CONFIGURATION: &str = "\
listen: 127.0.0.1:4000
log: {dir: stormproof-log}
providers:
  gemini: {dialect: gemini}
keys:
  gemini: {provider: gemini, secrets: {env: GEMINI_API_KEYS}, projects: separate}
tiers:
  pro: {keys: gemini, upstream: gemini-2.5-pro, limits: learn, price: free}
  flash: {keys: gemini, upstream: gemini-2.5-flash, limits: learn, price: free}
  flash-lite: {keys: gemini, upstream: gemini-2.5-flash-lite, limits: learn, price: free}
  embedding: {keys: gemini, upstream: gemini-embedding-001, limits: learn, price: free}
models:
  gemini-2.5-pro: {tiers: [pro]}
  gemini-2.5-flash: {tiers: [flash]}
  gemini-2.5-flash-lite: {tiers: [flash-lite]}
  gemini-embedding-001: {tiers: [embedding]}
";

/// A configuration that nobody wrote.
#[derive(Clone, Debug)]
pub struct Assumed {
    /// To be served.
    pub source: Source,
    /// The same as text: what to save as `stormproof.yaml` and change.
    pub text: &'static str,
    /// What was taken for granted, in sentences.
    pub assumptions: Vec<String>,
}

/// What to serve when there are keys in [`KEYS_VARIABLE`] and nothing else is known; `None` when there are none.
pub fn assume(environment: &dyn Environment) -> Option<Assumed> {
    let keys = environment.variable(KEYS_VARIABLE)?;
    let separator = |c: char| c == ',' || c.is_whitespace();
    let count = keys.split(separator).filter(|key| !key.is_empty()).count();
    if count == 0 {
        return None;
    }
    let keys = if count == 1 {
        "1 key, assumed 1 project".to_owned()
    } else {
        format!("{count} keys, assumed {count} projects; if they share one, set `projects: shared`")
    };
    let assumptions = vec![
        keys,
        "no limits are known: they are learnt from the provider's answers; set `limits` to avoid the first refusals"
            .to_owned(),
        "the keys are taken to be free of charge; set `price` and `budget` if they are not".to_owned(),
        "everyone on this machine may ask; set `clients` before listening elsewhere".to_owned(),
    ];
    Some(Assumed { source: Source::Text(Arc::from(CONFIGURATION)), text: CONFIGURATION, assumptions })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MemoryEnvironment;
    use crate::core::WallTime;
    use crate::proxy::site;

    fn environment(keys: &str) -> MemoryEnvironment {
        MemoryEnvironment {
            variables: [(KEYS_VARIABLE.to_owned(), keys.to_owned())].into(),
            ..MemoryEnvironment::default()
        }
    }

    #[test]
    fn one_variable_is_enough() {
        let environment = environment("key-1, key-2,key-3");
        let assumed = assume(&environment).expect("there are keys");
        assert_eq!(assumed.assumptions[0], "3 keys, assumed 3 projects; if they share one, set `projects: shared`");
        let config = assumed.source.parse(assumed.text).expect("good");
        let now = WallTime::from_nanos(1_745_040_057_000_000_000);
        let (live, _) = site::live(&config, &environment, b"salt", now).expect("it makes sense");
        assert_eq!(live.settings.projects.len(), 3);
        assert!(live.settings.tiers.iter().all(|tier| tier.limits.learn));
    }

    #[test]
    fn no_keys_are_no_beginning() {
        assert!(assume(&environment(" , ")).is_none());
        assert!(assume(&MemoryEnvironment::default()).is_none());
    }
}
