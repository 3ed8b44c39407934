//! A small HTTP client: one GET, its limits, and whom it will follow.
//!
//! hyper speaks HTTP, rustls TLS; what is ours is the choice of addresses. An announce goes over a
//! particular address family (BEP 7), and a redirect from a global address must not lead into the
//! user's own network, so both are decided where the name is resolved, not before (a name may point
//! anywhere).

use super::guard::may_lead;
use super::url::Url;
use crate::session::socket;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{error::Elapsed, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// A whole exchange, redirects included.
pub(crate) const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(20);
/// One attempt to connect. Trackers that are there answer within a second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Redirects that are followed.
const REDIRECTS_MAX: usize = 5;
/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 4;
/// Bytes of a reply's header.
const HEADER_MAX: usize = 64 * 1024;
/// What we call ourselves.
const USER_AGENT: &str = concat!("Samara/", env!("CARGO_PKG_VERSION"));

/// Why an exchange came to nothing; the text is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpError(pub(crate) String);

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Elapsed> for HttpError {
    fn from(_: Elapsed) -> Self {
        Self(format!("no answer within {} s", EXCHANGE_TIMEOUT.as_secs()))
    }
}

fn failed(what: &str, error: impl fmt::Display) -> HttpError {
    HttpError(format!("{what}: {error}"))
}

/// A reply, its body whole.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// Makes exchanges. Certificates are loaded at the first https address.
#[derive(Debug)]
pub(crate) struct Http {
    listen: IpAddr,
    tls: OnceLock<Arc<ClientConfig>>,
}

impl Http {
    /// Connections are made from `listen` if that is a particular address.
    pub(crate) fn new(listen: IpAddr) -> Self {
        Self {
            listen,
            tls: OnceLock::new(),
        }
    }

    /// Fetches `url` from one of `addrs` (from wherever its name leads if there are none).
    pub(crate) async fn get(
        &self,
        url: &Url,
        addrs: &[SocketAddr],
        body_max: usize,
    ) -> Result<Reply, HttpError> {
        timeout(EXCHANGE_TIMEOUT, self.follow(url, addrs, body_max)).await?
    }

    async fn follow(
        &self,
        url: &Url,
        addrs: &[SocketAddr],
        body_max: usize,
    ) -> Result<Reply, HttpError> {
        let mut url = url.clone();
        let mut addrs = if addrs.is_empty() {
            resolve(&url).await?
        } else {
            addrs.to_vec()
        };
        let want_v4 = addrs.iter().all(SocketAddr::is_ipv4);
        let want_v6 = addrs.iter().all(SocketAddr::is_ipv6);
        for _ in 0..=REDIRECTS_MAX {
            let (reply, from) = self.exchange(&url, &addrs).await?;
            if !reply.status().is_redirection() {
                return collect(reply, body_max).await;
            }
            let Some(to) = location(&reply, &url)? else {
                return collect(reply, body_max).await;
            };
            let next = resolve(&to).await?;
            if !may_lead(from.ip(), &next) {
                return Err(HttpError(format!(
                    "it redirects to {to}, which is in a private network: not followed"
                )));
            }
            let same: Vec<_> = next
                .iter()
                .copied()
                .filter(|a| (a.is_ipv4() || !want_v4) && (a.is_ipv6() || !want_v6))
                .collect();
            addrs = if same.is_empty() { next } else { same };
            url = to;
        }
        Err(HttpError(format!("more than {REDIRECTS_MAX} redirects")))
    }

    /// One request to the first address that takes the connection.
    async fn exchange(
        &self,
        url: &Url,
        addrs: &[SocketAddr],
    ) -> Result<(Ready, SocketAddr), HttpError> {
        let mut last = HttpError("its name has no address".into());
        for addr in addrs.iter().take(ADDRESSES_MAX) {
            let dialling = timeout(CONNECT_TIMEOUT, socket::dial(*addr, self.listen)).await;
            let stream = match dialling {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    last = failed(&format!("cannot connect to {addr}"), plain(&error));
                    continue;
                }
                Err(_) => {
                    last = HttpError(format!("cannot connect to {addr}: no answer"));
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            let reply = if url.is_https() {
                let name = ServerName::try_from(url.host().to_owned())
                    .map_err(|error| failed("not a name that TLS knows", error))?;
                let tls = TlsConnector::from(self.tls_config()?);
                let secured = timeout(CONNECT_TIMEOUT, tls.connect(name, stream)).await?;
                let secured = secured.map_err(|error| failed("no secure connection", error))?;
                request(secured, url).await?
            } else {
                request(stream, url).await?
            };
            return Ok((reply, *addr));
        }
        Err(last)
    }

    /// The system's certificates; the Mozilla list where the system has none.
    fn tls_config(&self) -> Result<Arc<ClientConfig>, HttpError> {
        if let Some(config) = self.tls.get() {
            return Ok(Arc::clone(config));
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        let provider = Arc::new(crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failed("TLS cannot be used", error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::clone(self.tls.get_or_init(|| Arc::new(config))))
    }
}

/// A reply whose body is still to come, and the task that moves its bytes.
struct Ready {
    reply: Response<Incoming>,
    _moving: JoinSet<()>,
}

impl Ready {
    fn status(&self) -> StatusCode {
        self.reply.status()
    }
}

async fn request<S>(stream: S, url: &Url) -> Result<Ready, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEADER_MAX)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(|error| failed("no HTTP connection", error))?;
    let mut moving = JoinSet::new();
    moving.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "HTTP connection");
        }
    });
    let request = Request::get(url.path_and_query())
        .header(header::HOST, url.authority())
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| failed("not an address that can be asked for", error))?;
    let reply = sender
        .send_request(request)
        .await
        .map_err(|error| failed("no HTTP reply", error))?;
    Ok(Ready {
        reply,
        _moving: moving,
    })
}

async fn collect(ready: Ready, most: usize) -> Result<Reply, HttpError> {
    let status = ready.status();
    let mut incoming = ready.reply.into_body();
    let mut body = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| failed("the reply breaks off", error))?;
        if let Some(data) = frame.data_ref() {
            if body.len() + data.len() > most {
                return Err(HttpError(format!("the reply is longer than {most} bytes")));
            }
            body.extend_from_slice(data);
        }
    }
    Ok(Reply {
        status,
        body: body.freeze(),
    })
}

/// Where a redirect leads; `None` if it does not say.
fn location(ready: &Ready, from: &Url) -> Result<Option<Url>, HttpError> {
    let Some(to) = ready.reply.headers().get(header::LOCATION) else {
        return Ok(None);
    };
    let to = to
        .to_str()
        .map_err(|_| HttpError("it redirects to no readable address".into()))?;
    from.join(to).map(Some).map_err(HttpError)
}

/// All addresses of the host, IPv4-mapped ones as IPv4.
pub(crate) async fn resolve(url: &Url) -> Result<Vec<SocketAddr>, HttpError> {
    look_up(url.host(), url.port()).await
}

/// All addresses of a name, IPv4-mapped ones as IPv4.
pub(super) async fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, HttpError> {
    let looking = tokio::net::lookup_host((host, port));
    let found = timeout(CONNECT_TIMEOUT, looking)
        .await
        .map_err(|_| HttpError(format!("the name {host} is not resolved in time")))?;
    let found = found.map_err(|error| {
        failed(
            &format!("the name {host} cannot be resolved"),
            plain(&error),
        )
    })?;
    Ok(found.map(socket::normal).collect())
}

/// The operating system's words without the error number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or(&text)
        .to_lowercase()
}
