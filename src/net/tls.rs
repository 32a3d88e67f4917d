//! Certificates: what this program shows to callers and whom it trusts when it calls. TLS 1.2 and
//! 1.3 over ring; the provider is always named, so no process-wide default is needed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use hyper_rustls::ConfigBuilderExt;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Why a certificate or its key cannot be used. Each names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read `{}` as PEM", .path.display())]
    Read { path: PathBuf, source: pem::Error },
    #[error("`{}` holds no certificate; it needs the PEM chain, the server's own certificate first", .0.display())]
    NoCertificate(PathBuf),
    #[error("`{}` holds no private key; it needs one PEM key, PKCS#8, PKCS#1 or SEC1", .0.display())]
    NoKey(PathBuf),
    #[error("the certificate `{}` and the key `{}` cannot be used together", .certificate.display(), .key.display())]
    Unusable { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("`{}` holds a certificate that cannot be a root", .path.display())]
    BadRoot { path: PathBuf, source: rustls::Error },
}

/// The certificate that a listener shows, read again when its files change.
#[derive(Debug)]
pub struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    shown: ArcSwap<CertifiedKey>,
}

impl Certificate {
    /// Reads a PEM chain and its key.
    pub fn open(certificate: &Path, key: &Path) -> Result<Arc<Self>, TlsError> {
        let shown = ArcSwap::from_pointee(certified(certificate, key)?);
        Ok(Arc::new(Self { certificate: certificate.to_owned(), key: key.to_owned(), shown }))
    }

    /// Reads the files again. What is wrong changes nothing: the certificate before stays. True where it is
    /// another one.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let read = certified(&self.certificate, &self.key)?;
        let changed = read.cert != self.shown.load().cert;
        if changed {
            self.shown.store(Arc::new(read));
        }
        Ok(changed)
    }

    /// A server's TLS settings. `alpn` names the protocols that the listener speaks, the preferred first
    /// (`[b"http/1.1"]`).
    pub fn server_config(self: &Arc<Self>, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, TlsError> {
        let unusable =
            |source| TlsError::Unusable { certificate: self.certificate.clone(), key: self.key.clone(), source };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown.load_full())
    }
}

fn certified(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|source| match source {
        pem::Error::NoItemsFound => TlsError::NoKey(key.to_owned()),
        source => TlsError::Read { path: key.to_owned(), source },
    })?;
    let unusable = |source| TlsError::Unusable { certificate: certificate.to_owned(), key: key.to_owned(), source };
    CertifiedKey::from_der(chain, private, &provider()).map_err(unusable)
}

/// The certificate authorities of a PEM file: those of a private network.
pub fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in certificates(file)? {
        roots.add(root).map_err(|source| TlsError::BadRoot { path: file.to_owned(), source })?;
    }
    Ok(roots)
}

/// A client's settings: trust in these roots, or in those of the web as Mozilla lists them.
pub fn client_config(roots: Option<RootCertStore>) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let trusting = match roots {
        Some(roots) => builder.with_root_certificates(roots),
        None => builder.with_webpki_roots(),
    };
    Ok(trusting.with_no_client_auth())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = |source| TlsError::Read { path: path.to_owned(), source };
    let chain = CertificateDer::pem_file_iter(path).map_err(read)?.collect::<Result<Vec<_>, _>>().map_err(read)?;
    if chain.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(chain) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::client::{Client, Limits};
    use http::HeaderMap;

    /// A directory with `cert.pem` and `key.pem` of `localhost`, and `other.pem`, an unrelated key.
    fn files() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(dir.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        std::fs::write(dir.path().join("other.pem"), rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
        dir
    }

    fn serve(config: Arc<ServerConfig>) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
        let config = axum_server::tls_rustls::RustlsConfig::from_config(config);
        let router = axum::Router::new().fallback(|| async { "hi" });
        tokio::spawn(axum_server::from_tcp_rustls(listener, config).unwrap().serve(router.into_make_service()));
        url
    }

    #[tokio::test]
    async fn a_client_trusts_the_roots_it_was_given_and_no_others() {
        let dir = files();
        let certificate = dir.path().join("cert.pem");
        let shown = Certificate::open(&certificate, &dir.path().join("key.pem")).unwrap();
        let url = serve(shown.server_config(&[b"http/1.1"]).unwrap());
        let private = Client::trusting(roots(&certificate).unwrap(), Limits::default()).unwrap();
        assert_eq!(private.get(&url, HeaderMap::new()).await.unwrap().body, "hi");
        let web = Client::new(Limits::default()).unwrap();
        assert!(web.get(&url, HeaderMap::new()).await.is_err());
    }

    #[test]
    fn every_mistake_names_its_file() {
        let dir = files();
        let [cert, key, other, none] =
            ["cert.pem", "key.pem", "other.pem", "none.pem"].map(|name| dir.path().join(name));
        let told = |certificate: &Path, key: &Path| Certificate::open(certificate, key).unwrap_err().to_string();
        assert!(told(&none, &key).contains("none.pem"));
        assert!(told(&cert, &none).contains("none.pem"));
        assert!(told(&key, &key).contains("key.pem` holds no certificate"));
        assert!(told(&cert, &cert).contains("cert.pem` holds no private key"));
        assert!(told(&cert, &other).contains("cannot be used together"));
    }

    #[test]
    fn a_renewed_certificate_is_shown_and_a_broken_one_is_not() {
        let (dir, renewed) = (files(), files());
        let [certificate, key] = ["cert.pem", "key.pem"].map(|name| dir.path().join(name));
        let shown = Certificate::open(&certificate, &key).unwrap();
        let first = shown.shown.load_full();
        assert!(!shown.reload().unwrap());
        // Half of a renewal: the certificate is there, its key is not yet.
        std::fs::copy(renewed.path().join("cert.pem"), &certificate).unwrap();
        assert!(shown.reload().is_err());
        assert_eq!(shown.shown.load().cert, first.cert);
        std::fs::copy(renewed.path().join("key.pem"), &key).unwrap();
        assert!(shown.reload().unwrap());
        assert_ne!(shown.shown.load().cert, first.cert);
    }
}
