//! Asking a control plane over HTTP.

use std::fmt::Write as _;
use std::io::Write;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use crate::net::client::{Answer, Client, Limits};

use super::error::CliError;
use super::token::understood;

/// A question to the evidence API.
pub(super) struct Asked<'a> {
    pub url: &'a str,
    /// With its query.
    pub path: &'a str,
    /// `None` for what is shown to everybody.
    pub key: Option<&'a str>,
}

impl Asked<'_> {
    /// Prints the answer as it comes: as text or as JSON.
    pub(super) async fn write_answer(&self, json: bool, out: &mut dyn Write) -> Result<(), CliError> {
        let form = if json { "application/json" } else { "text/plain" };
        let answer = self.answer(form, Limits { body: 16 << 20, ..Limits::default() }).await?;
        if !json && is_of(&answer, "text/plain") {
            return Ok(out.write_all(&answer.body)?);
        }
        let told = understood(self.url, &answer)?;
        if !json {
            return Err(self.not_permyx(&answer));
        }
        Ok(writeln!(out, "{told:#}")?)
    }

    /// The bytes of an answer of the media type `form`; any other is a refusal.
    pub(super) async fn bytes(&self, form: &'static str, limits: Limits) -> Result<Bytes, CliError> {
        let answer = self.answer(form, limits).await?;
        if is_of(&answer, form) {
            return Ok(answer.body);
        }
        understood(self.url, &answer)?;
        Err(self.not_permyx(&answer))
    }

    async fn answer(&self, form: &'static str, limits: Limits) -> Result<Answer, CliError> {
        let url = format!("{}{}", self.url.trim_end_matches('/'), self.path);
        let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(form))]);
        headers.extend(self.key.map(key_header).transpose()?);
        let no_answer = |source| CliError::NoAnswer { url: self.url.to_owned(), source };
        let client = Client::new(limits).map_err(no_answer)?;
        client.get(&url, headers).await.map_err(no_answer)
    }

    fn not_permyx(&self, answer: &Answer) -> CliError {
        CliError::NotPermyx { url: self.url.to_owned(), status: answer.status.as_u16() }
    }
}

/// Posts a body of JSON to the execution API; any answer is one.
pub(super) async fn post(client: &Client, url: &str, path: &str, key: &str, body: String) -> Result<Answer, CliError> {
    let mut headers = json_headers();
    headers.extend([key_header(key)?]);
    let answer = client.post(&format!("{}{path}", url.trim_end_matches('/')), headers, Bytes::from(body)).await;
    answer.map_err(|source| CliError::NoAnswer { url: url.to_owned(), source })
}

/// JSON is sent, and JSON is wanted.
pub(super) fn json_headers() -> HeaderMap {
    let json = || HeaderValue::from_static("application/json");
    HeaderMap::from_iter([(CONTENT_TYPE, json()), (ACCEPT, json())])
}

fn is_of(answer: &Answer, form: &str) -> bool {
    let kind = answer.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    answer.status == 200 && kind.and_then(|kind| kind.split(';').next()) == Some(form)
}

/// The header that carries an API key; it is never printed.
pub(super) fn key_header(key: &str) -> Result<(HeaderName, HeaderValue), CliError> {
    let mut key = HeaderValue::from_str(key).map_err(|_| CliError::NotAKey("--key"))?;
    key.set_sensitive(true);
    Ok((HeaderName::from_static("x-api-key"), key))
}

/// As one segment of a path.
pub(super) fn escaped(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    id.bytes().fold(String::new(), |mut path, byte| {
        // Writing to a String cannot fail.
        let _ = if plain(byte) { write!(path, "{}", char::from(byte)) } else { write!(path, "%{byte:02X}") };
        path
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_segment() {
        assert_eq!(escaped("trc_1-a.~"), "trc_1-a.~");
        assert_eq!(escaped("a/b?c#d é%"), "a%2Fb%3Fc%23d%20%C3%A9%25");
    }
}
