//! Pictures, sound and files inside messages.
//!
//! Nothing is fetched here. What stands in a data address goes along; what Google can fetch itself (its own file store,
//! Cloud Storage, YouTube) goes as an address; every other address is reported, and the caller decides whether it may be
//! fetched and calls again with the bytes.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Fetched;
use crate::wire::gemini::{Blob, FileData, Part};
use crate::wire::json::{At, Fields, Json, Refusal, is_string, string};

/// What was fetched already, and what still has to be.
pub(super) struct Media<'a> {
    fetched: &'a [Fetched],
    missing: Vec<String>,
}

impl<'a> Media<'a> {
    pub(super) fn new(fetched: &'a [Fetched]) -> Self {
        Self { fetched, missing: Vec::new() }
    }

    /// Whether everything was there.
    pub(super) fn finish(&mut self) -> Result<(), Refusal> {
        let missing = std::mem::take(&mut self.missing);
        if missing.is_empty() { Ok(()) } else { Err(Refusal::NeedsFetching(missing)) }
    }

    fn address(&mut self, url: Cow<'a, str>, at: &At<'_>) -> Result<Part<'a>, Refusal> {
        if strip_scheme(&url, "data:").is_some() {
            // Megabytes, as a rule: borrowed from the request where they stand there without escapes.
            return match url {
                Cow::Borrowed(url) => inline(url, at, Cow::Borrowed),
                Cow::Owned(url) => inline(&url, at, |data| Cow::Owned(data.to_owned())),
            };
        }
        if google_fetches(&url) {
            let file_data = Some(FileData { mime_type: mime_type_of(&url), file_uri: url });
            return Ok(Part { file_data, ..Part::default() });
        }
        if strip_scheme(&url, "https:").or_else(|| strip_scheme(&url, "http:")).is_none() {
            return Err(at.refuse("must be a data: or https: address"));
        }
        match self.fetched.iter().find(|fetched| *fetched.url == *url) {
            Some(fetched) => {
                let data = Json::Text(Cow::Owned(STANDARD.encode(&fetched.bytes)));
                let mime_type = Cow::Borrowed(fetched.mime_type.as_str());
                Ok(Part { inline_data: Some(Blob { mime_type, data }), ..Part::default() })
            }
            None => {
                if !self.missing.iter().any(|missing| *missing == *url) {
                    self.missing.push(url.into_owned());
                }
                Ok(Part::default())
            }
        }
    }
}

/// The part for `{"type": "image_url" | "input_audio" | "file", …}`.
pub(super) fn part<'a>(
    media: &mut Media<'a>,
    kind: &str,
    fields: &Fields<'a>,
    at: &At<'_>,
) -> Result<Part<'a>, Refusal> {
    let inner = fields.need(kind, at)?;
    let at = at.field(kind);
    if is_string(inner) {
        return media.address(string(inner, &at)?, &at);
    }
    let inner = Fields::of(inner, &at)?;
    match kind {
        "image_url" => media.address(string(inner.need("url", &at)?, &at.field("url"))?, &at.field("url")),
        "input_audio" => {
            let format = string(inner.need("format", &at)?, &at.field("format"))?;
            let mime_type = match &*format {
                "wav" => "audio/wav",
                "mp3" => "audio/mp3",
                _ => return Err(at.field("format").refuse("must be wav or mp3")),
            };
            let data = Json::Raw(inner.need("data", &at)?);
            Ok(Part { inline_data: Some(Blob { mime_type: Cow::Borrowed(mime_type), data }), ..Part::default() })
        }
        _ => match inner.get("file_data") {
            Some(data) => media.address(string(data, &at.field("file_data"))?, &at.field("file_data")),
            None => {
                Err(at.refuse("must hold file_data: files uploaded elsewhere are not known to the model's provider"))
            }
        },
    }
}

/// `data:image/png;base64,…`.
fn inline<'u, 'a>(url: &'u str, at: &At<'_>, keep: impl Fn(&'u str) -> Cow<'a, str>) -> Result<Part<'a>, Refusal> {
    let (head, data) = url.split_once(',').ok_or_else(|| at.refuse("is not a data address"))?;
    let mut words = strip_scheme(head, "data:").unwrap_or_default().split(';');
    let mime_type = words.next().filter(|mime_type| !mime_type.is_empty()).unwrap_or("text/plain").to_owned();
    if !words.any(|word| word.eq_ignore_ascii_case("base64")) {
        return Err(at.refuse("must be encoded in base64"));
    }
    let blob = Blob { mime_type: Cow::Owned(mime_type), data: Json::Text(keep(data)) };
    Ok(Part { inline_data: Some(blob), ..Part::default() })
}

fn strip_scheme<'u>(url: &'u str, scheme: &str) -> Option<&'u str> {
    let (head, rest) = (url.get(..scheme.len())?, url.get(scheme.len()..)?);
    head.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// Whether Gemini takes the address as it is.
fn google_fetches(url: &str) -> bool {
    const PLACES: [&str; 5] = [
        "gs://",
        "https://generativelanguage.googleapis.com/v1beta/files/",
        "https://www.youtube.com/",
        "https://youtube.com/",
        "https://youtu.be/",
    ];
    PLACES.iter().any(|place| url.starts_with(place))
}

/// From the ending. Google's file store knows its own types.
fn mime_type_of(url: &str) -> Option<&'static str> {
    let ending = url.split(['?', '#']).next()?.rsplit('.').next()?.to_ascii_lowercase();
    Some(match ending.as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "heic" => "image/heic",
        "gif" => "image/gif",
        "pdf" => "application/pdf",
        "mp3" => "audio/mp3",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "mov" => "video/quicktime",
        _ => return None,
    })
}
