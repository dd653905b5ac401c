//! The JSON document.

use serde::Serialize;
use stormproof_simulator::study::summary::Summary;

use crate::Error;

/// The summary as one indented JSON document with a newline at its end; the trace is not part of it.
///
/// # Errors
/// When it does not fit into JSON.
pub fn json(summary: &Summary) -> Result<String, Error> {
    document(summary)
}

pub(crate) fn document(value: &impl Serialize) -> Result<String, Error> {
    let mut text = serde_json::to_string_pretty(value).map_err(|error| Error::Document(error.to_string()))?;
    text.push('\n');
    Ok(text)
}
