//! TLS towards clients.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

use crate::config::Tls;

/// A certificate or a key that cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file is not PEM, or cannot be read.
    #[error("{path} cannot be used: {source}; it must be a PEM file")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// A file that holds no certificate.
    #[error("{0} holds no certificate; it must be a PEM file with the chain, our own certificate first")]
    Empty(PathBuf),
    /// Certificate and key do not fit together.
    #[error("the certificate and the key cannot be used together: {0}")]
    Pair(#[from] rustls::Error),
}

/// Says whether a proxy could serve with this certificate and key.
pub fn check_tls(files: &Tls) -> Result<(), TlsError> {
    acceptor(files).map(|_| ())
}

/// Accepts TLS connections with this certificate, and HTTP/1.1 over them.
pub(super) fn acceptor(files: &Tls) -> Result<TlsAcceptor, TlsError> {
    let certificate = |source| TlsError::File { path: files.cert.clone(), source };
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
        .map_err(certificate)?;
    if chain.is_empty() {
        return Err(TlsError::Empty(files.cert.clone()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|source| TlsError::File { path: files.key.clone(), source })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
