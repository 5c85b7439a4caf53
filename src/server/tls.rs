//! TLS of the gRPC port: a certificate and its key from files, as every certificate authority hands them out.

use std::{path::PathBuf, sync::Arc};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{
            CertificateDer, PrivateKeyDer,
            pem::{Error as PemError, PemObject},
        },
    },
};

use crate::{Error, Result};

/// PEM files.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate, and those that vouch for it behind it.
    pub certificate: PathBuf,
    /// Its private key (PKCS #8, PKCS #1 or SEC 1), not encrypted.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Reads them.
    ///
    /// # Errors
    /// [`Error::Invalid`] that names the option whose file cannot be read or holds something else; when the key is not
    /// the certificate's.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor> {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        let bad_certificate =
            |error: PemError| Error::Invalid(format!("--grpc-tls-cert {certificate}: {}", what(&error)));
        let chain: Vec<_> = CertificateDer::pem_file_iter(&self.certificate)
            .map_err(bad_certificate)?
            .collect::<Result<_, _>>()
            .map_err(bad_certificate)?;
        if chain.is_empty() {
            return Err(bad_certificate(PemError::NoItemsFound));
        }
        let secret = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| Error::Invalid(format!("--grpc-tls-key {key}: {}", what(&error))))?;
        let bad = |error| {
            Error::Invalid(format!(
                "--grpc-tls-cert {certificate}, --grpc-tls-key {key}: {error}"
            ))
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(bad)?
            .with_no_client_auth()
            .with_single_cert(chain, secret)
            .map_err(bad)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// What is wrong with a file, for people.
fn what(error: &PemError) -> String {
    match error {
        PemError::Io(error) => error.to_string(),
        PemError::NoItemsFound => "holds nothing of the kind in PEM form".into(),
        error => format!("is no PEM file: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(certificate: &str, key: &str) -> (tempfile::TempDir, TlsFiles) {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let files = TlsFiles {
            certificate: write("cert.pem", certificate),
            key: write("key.pem", key),
        };
        (directory, files)
    }

    #[track_caller]
    fn says(files: &TlsFiles, words: &[&str]) {
        let error = files.acceptor().err().unwrap().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }

    #[test]
    fn files_that_are_no_certificate_and_key_are_named() {
        let pair = || rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        let (one, two) = (pair(), pair());
        let (cert, key) = (one.cert.pem(), one.signing_key.serialize_pem());
        let (_directory, good) = files(&cert, &key);
        assert!(good.acceptor().is_ok());
        let (directory, gone) = files(&cert, &key);
        drop(directory);
        says(&gone, &["--grpc-tls-cert", "No such file"]);
        let (_directory, bad) = files("hello", &key);
        says(&bad, &["--grpc-tls-cert", "cert.pem: holds nothing"]);
        let (_directory, bad) = files(&cert, "");
        says(&bad, &["--grpc-tls-key", "key.pem: holds nothing"]);
        let (_directory, bad) = files(&cert, &key.replace("-----END", "-----"));
        says(&bad, &["--grpc-tls-key", "is no PEM file"]);
        let (_directory, other) = files(&cert, &two.signing_key.serialize_pem());
        says(&other, &["--grpc-tls-cert", "--grpc-tls-key"]);
    }
}
