//! A small HTTP/1.1 client: GET and POST, one time limit for all of it, one limit on the answer; and
//! answers without an end, which are read as they come.
//!
//! It follows no redirect and reads no proxy setting: a request goes where the configuration says
//! and nowhere else. Without the feature `tls` it refuses `https`, it never falls back to `http`.

mod following;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

pub use following::{Following, Opened};

#[cfg(feature = "tls")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
type Connector = HttpConnector;

/// Connections of one host that are kept open, and for how long.
const IDLE_PER_HOST: usize = 2;
const IDLE: Duration = Duration::from_secs(30);

/// What one request may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the look-up of the name to the last byte of the answer.
    pub time: Duration,
    /// Most bytes of an answer's body.
    pub body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time: Duration::from_secs(5), body: 1 << 20 }
    }
}

/// A complete answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is no answer. None of these tells whether the other side acted on the request.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("`{0}` is not an absolute http or https URL")]
    NotAUrl(String),
    #[error("a URL must not hold a user name or a password")]
    HoldsCredentials,
    #[error("cannot reach `{0}`: this build has no TLS, use the one with the feature `tls`")]
    NoTls(String),
    #[error("cannot reach `{host}`")]
    Unreachable { host: String, source: hyper_util::client::legacy::Error },
    #[error("`{host}` did not answer completely within {} ms", .limit.as_millis())]
    TimedOut { host: String, limit: Duration },
    #[error("the answer of `{host}` is larger than {limit} bytes")]
    TooLarge { host: String, limit: usize },
    #[error("the answer of `{host}` broke off")]
    BrokeOff { host: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the TLS of this build cannot be started")]
    #[cfg(feature = "tls")]
    Tls(#[source] rustls::Error),
}

/// A pool of connections with its limits. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    pool: Arc<Pool<Connector, Full<Bytes>>>,
    limits: Limits,
}

impl Client {
    /// A client that trusts the certificate authorities of the web.
    pub fn new(limits: Limits) -> Result<Self, ClientError> {
        #[cfg(feature = "tls")]
        return Self::with_tls(None, limits);
        #[cfg(not(feature = "tls"))]
        Ok(Self::over(http_connector(), limits))
    }

    /// A client that trusts exactly these certificate authorities.
    #[cfg(feature = "tls")]
    pub fn trusting(roots: rustls::RootCertStore, limits: Limits) -> Result<Self, ClientError> {
        Self::with_tls(Some(roots), limits)
    }

    #[cfg(feature = "tls")]
    fn with_tls(roots: Option<rustls::RootCertStore>, limits: Limits) -> Result<Self, ClientError> {
        let config = super::tls::client_config(roots).map_err(ClientError::Tls)?;
        let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config);
        Ok(Self::over(builder.https_or_http().enable_http1().wrap_connector(http_connector()), limits))
    }

    fn over(connector: Connector, limits: Limits) -> Self {
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .build(connector);
        Self { pool: Arc::new(pool), limits }
    }

    pub async fn get(&self, url: &str, headers: HeaderMap) -> Result<Answer, ClientError> {
        self.send(Method::GET, url, headers, Bytes::new()).await
    }

    /// Sends `body` as it is; its type is one of the `headers`.
    pub async fn post(&self, url: &str, headers: HeaderMap, body: Bytes) -> Result<Answer, ClientError> {
        self.send(Method::POST, url, headers, body).await
    }

    /// Asks for a stream. Its head is here within the time limit; its body comes piece by piece.
    pub async fn follow(&self, url: &str, headers: HeaderMap) -> Result<Opened, ClientError> {
        let (request, host) = request(Method::GET, url, headers, Bytes::new())?;
        self.in_time(&host, async {
            let answer = self.head(request, &host).await?;
            if answer.status == StatusCode::OK {
                return Ok(Opened::Stream(answer));
            }
            Ok(Opened::Refused(answer.whole(self.limits.body).await?))
        })
        .await
    }

    async fn send(&self, method: Method, url: &str, headers: HeaderMap, body: Bytes) -> Result<Answer, ClientError> {
        let (request, host) = request(method, url, headers, body)?;
        self.in_time(&host, async { self.head(request, &host).await?.whole(self.limits.body).await }).await
    }

    async fn in_time<T>(
        &self,
        host: &str,
        task: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        let limit = self.limits.time;
        let late = |_elapsed| ClientError::TimedOut { host: host.to_owned(), limit };
        tokio::time::timeout(limit, task).await.map_err(late)?
    }

    async fn head(&self, request: Request<Full<Bytes>>, host: &str) -> Result<Following, ClientError> {
        let sent = self.pool.request(request).await;
        let answer = sent.map_err(|source| ClientError::Unreachable { host: host.to_owned(), source })?;
        let (head, body) = answer.into_parts();
        let body = body.map_err(std::io::Error::other).boxed_unsync();
        Ok(Following { status: head.status, headers: head.headers, host: host.to_owned(), body })
    }
}

/// The request, and the host that it goes to.
fn request(
    method: Method,
    url: &str,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(Request<Full<Bytes>>, String), ClientError> {
    let uri = checked(url)?;
    let host = uri.authority().map(ToString::to_string).unwrap_or_default();
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok((request, host))
}

fn http_connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.enforce_http(!cfg!(feature = "tls"));
    connector
}

/// A URL that this build can ask.
fn checked(url: &str) -> Result<Uri, ClientError> {
    let uri: Uri = url.parse().map_err(|_| ClientError::NotAUrl(url.to_owned()))?;
    let authority = uri.authority().ok_or_else(|| ClientError::NotAUrl(url.to_owned()))?;
    if authority.as_str().contains('@') {
        return Err(ClientError::HoldsCredentials);
    }
    match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => Ok(uri),
        Some(scheme) if *scheme == Scheme::HTTPS && cfg!(feature = "tls") => Ok(uri),
        Some(scheme) if *scheme == Scheme::HTTPS => Err(ClientError::NoTls(authority.to_string())),
        _ => Err(ClientError::NotAUrl(url.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn limits(millis: u64, body: usize) -> Limits {
        Limits { time: Duration::from_millis(millis), body }
    }

    /// Answers one connection with these bytes, then holds it open; yields the URL and what was asked.
    async fn answering(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/path?q=1", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.windows(4).any(|four| four == b"\r\n\r\n") {
                let mut chunk = [0; 1024];
                let read = stream.read(&mut chunk).await.unwrap();
                asked.extend_from_slice(&chunk[..read]);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            let _ = stream.read(&mut [0; 1]).await;
            String::from_utf8(asked).unwrap()
        });
        (url, served)
    }

    #[tokio::test]
    async fn an_answer_comes_back_whole_and_headers_are_sent() {
        let (url, served) = answering("HTTP/1.1 404 Not Found\r\nx-a: b\r\ncontent-length: 2\r\n\r\nhi").await;
        let client = Client::new(Limits::default()).unwrap();
        let headers = HeaderMap::from_iter([(http::header::ACCEPT, "text/plain".parse().unwrap())]);
        let answer = client.get(&url, headers).await.unwrap();
        assert_eq!(
            (answer.status, &answer.body[..], &answer.headers["x-a"]),
            (StatusCode::NOT_FOUND, &b"hi"[..], &"b".parse().unwrap())
        );
        drop(client);
        let asked = served.await.unwrap();
        assert!(asked.starts_with("GET /path?q=1 HTTP/1.1\r\n") && asked.contains("accept: text/plain\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_like_any_other() {
        let (url, _served) =
            answering("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n").await;
        let answer = Client::new(Limits::default()).unwrap().get(&url, HeaderMap::new()).await.unwrap();
        assert_eq!(answer.status, StatusCode::FOUND);
    }

    #[tokio::test]
    async fn a_large_answer_is_refused() {
        let (url, _served) = answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabcde").await;
        let refused = Client::new(limits(5000, 4)).unwrap().get(&url, HeaderMap::new()).await.unwrap_err();
        assert!(matches!(refused, ClientError::TooLarge { limit: 4, .. }), "{refused}");
    }

    #[tokio::test]
    async fn a_slow_answer_is_given_up() {
        let (url, _served) = answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc").await;
        let refused = Client::new(limits(50, 100)).unwrap().get(&url, HeaderMap::new()).await.unwrap_err();
        assert!(matches!(refused, ClientError::TimedOut { .. }), "{refused}");
    }

    #[tokio::test]
    async fn nobody_there_is_told_as_such() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let refused =
            Client::new(Limits::default()).unwrap().post(&url, HeaderMap::new(), Bytes::new()).await.unwrap_err();
        assert!(matches!(refused, ClientError::Unreachable { .. }), "{refused}");
    }

    #[test]
    fn only_absolute_urls_without_credentials_are_asked() {
        for bad in ["", "/path", "localhost:1", "ftp://host/", "http://", "http://a b/"] {
            assert!(matches!(checked(bad), Err(ClientError::NotAUrl(_))), "{bad:?}");
        }
        let secret = checked("http://user:hunter2@host/").unwrap_err();
        assert!(!format!("{secret} {secret:?}").contains("hunter2"));
        assert_eq!(checked("https://host/").is_ok(), cfg!(feature = "tls"));
    }
}
