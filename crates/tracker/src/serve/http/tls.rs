//! HTTPS: a certificate and a key from files, which can be read again while connections go on.

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::{error, fmt};
use tokio_rustls::{TlsAcceptor, rustls};

/// Where the certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those up to the root, in PEM.
    pub cert: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

/// Why HTTPS cannot be served.
#[derive(Debug)]
pub struct TlsError {
    path: PathBuf,
    why: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

impl error::Error for TlsError {}

/// The certificate in force.
#[derive(Debug)]
pub(in crate::serve) struct Tls {
    config: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    pub(in crate::serve) fn new(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self {
            config: RwLock::new(Arc::new(read(files)?)),
        })
    }

    /// Reads the files again; new connections see them. If they are wrong, the old ones stay in force.
    pub(in crate::serve) fn reload(&self, files: &TlsFiles) -> Result<(), TlsError> {
        let config = Arc::new(read(files)?);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    pub(in crate::serve) fn acceptor(&self) -> TlsAcceptor {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&config).into()
    }
}

fn read(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let wrong = |path: &PathBuf, why: String| TlsError {
        path: path.clone(),
        why,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(&files.cert, format!("no certificate can be read: {error}")))?;
    if chain.is_empty() {
        return Err(wrong(&files.cert, "there is no certificate in it".into()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| wrong(&files.key, format!("no private key can be read: {error}")))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| {
            let why = format!(
                "it does not go with the key {}: {error}",
                files.key.display()
            );
            wrong(&files.cert, why)
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Clients come back every interval: a ticket saves both sides most of the handshake.
    if let Ok(ticketer) = ring::Ticketer::new() {
        config.ticketer = ticketer;
    }
    Ok(config)
}
