//! A request that came by HTTP/2, as HTTP/1.1 says it: everything behind here knows one shape.

use http::Version;
use http::header::{COOKIE, HOST, UPGRADE};
use pingora::http::RequestHeader;

use crate::protocol::deny::Refusal;

/// Puts the authority into `Host` (RFC 9113 §8.3.1) and joins the crumbs of a cookie (§8.2.3). True where something
/// changed.
pub(super) fn as_http1(head: &mut RequestHeader) -> Result<bool, Refusal> {
    if head.version != Version::HTTP_2 {
        return Ok(false);
    }
    let authority = head.uri.authority().map(|authority| authority.as_str().to_owned());
    let same = |authority: &String| {
        head.headers.get_all(HOST).iter().all(|host| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()))
    };
    let Some(authority) = authority.filter(|authority| same(authority)) else {
        return Err(Refusal::malformed(400, "Host", "say once which host this is for, as :authority"));
    };
    let crumbs: Vec<_> = head.headers.get_all(COOKIE).iter().map(|crumb| crumb.as_bytes().to_vec()).collect();
    let put = || -> pingora::Result<()> {
        head.insert_header(HOST, authority)?;
        if crumbs.len() > 1 {
            head.insert_header(COOKIE, crumbs.join(&b"; "[..]))?;
        }
        Ok(())
    };
    put().map(|()| true).map_err(|_error| Refusal::malformed(400, "Host", "say which host this is for, as :authority"))
}

/// Takes away the offer to go on in HTTP/2 on this connection: nobody has to take it (RFC 9113 §3.1),
/// and what would follow it is no request that anybody judged. True where there was one.
pub(super) fn stay_http1(head: &mut RequestHeader) -> bool {
    let offers_h2c = |value: &http::HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"h2c");
    let mut offers = head.headers.get_all(UPGRADE).iter();
    let offers_only_that = offers.next().is_some_and(offers_h2c) && offers.next().is_none();
    if offers_only_that {
        head.remove_header(&UPGRADE);
        head.remove_header("http2-settings");
    }
    offers_only_that
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(authority: Option<&str>, lines: &[(&'static str, &'static str)]) -> RequestHeader {
        let mut head = RequestHeader::build("POST", b"/checkout", None).unwrap();
        head.set_version(Version::HTTP_2);
        let uri = authority.map_or_else(|| "/checkout".to_owned(), |host| format!("http://{host}/checkout"));
        head.set_uri(uri.parse().unwrap());
        for (name, value) in lines {
            head.append_header(*name, *value).unwrap();
        }
        head
    }

    #[test]
    fn the_authority_is_the_host_and_a_cookie_is_one_line() {
        let mut request = head(Some("shop.example:1"), &[("cookie", "a=1"), ("cookie", "b=2")]);
        assert!(as_http1(&mut request).unwrap());
        assert_eq!(request.headers[HOST], "shop.example:1");
        assert_eq!(request.headers[COOKIE], "a=1; b=2");
        assert_eq!(request.headers.get_all(COOKIE).iter().count(), 1);
        assert!(as_http1(&mut head(Some("a"), &[("host", "A")])).is_ok());
    }

    #[test]
    fn two_hosts_or_none_are_refused() {
        assert!(as_http1(&mut head(Some("a"), &[("host", "b")])).is_err());
        assert!(as_http1(&mut head(None, &[("host", "a")])).is_err());
    }

    #[test]
    fn an_offer_of_http2_is_not_taken_and_another_one_stays() {
        let mut request = head(Some("a"), &[("upgrade", "h2c"), ("http2-settings", "AA")]);
        assert!(stay_http1(&mut request));
        assert!(!request.headers.contains_key(UPGRADE) && !request.headers.contains_key("http2-settings"));
        for lines in [
            vec![("upgrade", "websocket")],
            vec![("upgrade", "h2c, websocket")],
            vec![("upgrade", "h2c"), ("upgrade", "x")],
        ] {
            let mut request = head(Some("a"), &lines);
            assert!(!stay_http1(&mut request));
            assert!(request.headers.contains_key(UPGRADE), "{lines:?}");
        }
    }
}
