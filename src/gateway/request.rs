//! A request as it is judged and passed on, whoever read it.

use bytes::Bytes;
use http::{Method, Version};
use pingora::http::{HeaderNameVariant, RequestHeader};

use super::fields::{Fields, Gathered};

/// See the module.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    /// False where it came by an older version, whose requests need not say which host they are for.
    pub is_http11: bool,
    /// As it is written in the request line.
    pub target: Bytes,
    /// What stands behind the question mark, if there is one.
    query: Option<Bytes>,
    pub fields: Fields,
}

impl Request {
    /// `target`: a path, with a query or without.
    pub(super) fn plain(method: Method, target: Bytes, fields: Fields) -> Self {
        let query = memchr::memchr(b'?', &target).map(|at| target.slice(at + 1..));
        Self { method, is_http11: true, target, query, fields }
    }

    /// One that pingora read.
    pub(super) fn read_by_pingora(head: &RequestHeader) -> Self {
        let mut fields = Gathered::default();
        // INVARIANT: what is done with each field does not fail.
        let _ = head.map(|name, value| {
            let name = match &name {
                HeaderNameVariant::Case(name) => name.as_slice(),
                HeaderNameVariant::Titled(name) => name.as_bytes(),
            };
            fields.add(name, value.as_bytes());
            Ok(())
        });
        Self {
            method: head.method.clone(),
            is_http11: head.version == Version::HTTP_11,
            target: Bytes::copy_from_slice(head.raw_path()),
            query: head.uri.query().map(|query| Bytes::copy_from_slice(query.as_bytes())),
            fields: fields.done(),
        }
    }

    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref().and_then(|query| std::str::from_utf8(query).ok())
    }
}
