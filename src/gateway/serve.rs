//! The accept loop. Sockets are ours, so that a port of 0 is known and connections are counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::{HttpServerOptions, ServerApp};
use pingora::protocols::Stream;
#[cfg(feature = "tls")]
use pingora::protocols::{GetSocketDigest, SocketDigest};
use pingora::proxy::HttpProxy;
use pingora::server::configuration::ServerConf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::telemetry::metrics::Counted;

use super::Gateway;
use super::conversation::{Conversation, IDLE, LAST_ANSWERS, REQUESTS_PER_CONNECTION, begins_as_http2, stopped};
use super::phase::Phase;
use super::proxied::Proxied;
use super::socket::{Socket, Speaks};
use super::tcp::{Tcp, digest};
use super::upstream::Upstream;

/// Time for a TLS handshake.
#[cfg(feature = "tls")]
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Rest after a failed accept: out of descriptors, it would spin.
const ACCEPT_REST: Duration = Duration::from_millis(100);
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// How a listener speaks.
pub enum Transport {
    Plain,
    #[cfg(feature = "tls")]
    Tls(Arc<rustls::ServerConfig>),
}

/// Accepts until `stop` turns true, then waits for what is under way until `cut` does, and records
/// what is cut short.
pub async fn serve(
    gateway: Gateway,
    listener: TcpListener,
    transport: Transport,
    connections_max: usize,
    mut stop: watch::Receiver<bool>,
    mut cut: watch::Receiver<bool>,
) {
    let exchange = gateway.exchange();
    let open = gateway.authority.metrics.connections.with_label_values(&["gateway"]);
    let sweeping = tokio::spawn(sweep(gateway.routes().upstreams()));
    let gateway = Arc::new(gateway);
    let pingora = application(gateway.clone());
    let acceptor = Acceptor::new(transport);
    let free = Arc::new(Semaphore::new(connections_max));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &free) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Some((socket, peer, permit)) = accepted else { continue };
        let (gateway, pingora, acceptor, mut stop) = (gateway.clone(), pingora.clone(), acceptor.clone(), stop.clone());
        let counted = Counted::one(&open);
        tokio::spawn(async move {
            let _held = (permit, counted);
            let phase = Phase::default();
            let opened = tokio::select! {
                opened = acceptor.open(socket, peer, phase.clone()) => opened,
                // Its first request may be on its way.
                () = stopped(&mut stop) => None,
            };
            match opened {
                Some((stream, Speaks::Http1)) => {
                    let conversation = Conversation::new(gateway, pingora, phase.clone(), peer, stop);
                    phase.scope(conversation.hold(stream)).await;
                }
                Some((stream, Speaks::Http2)) => drop(pingora.process_new(stream, &stop).await),
                None => {}
            }
        });
    }
    drop(listener);
    sweeping.abort();
    pingora.cleanup().await;
    // Every connection holds a permit: all of them back means that nothing is under way.
    let all = u32::try_from(connections_max).unwrap_or(u32::MAX);
    tokio::select! {
        _ = free.acquire_many(all) => return,
        _ = cut.wait_for(|cut| *cut) => {}
    }
    exchange.cut_short().await;
    let _ = tokio::time::timeout(LAST_ANSWERS, free.acquire_many(all)).await;
}

/// Closes connections to merchants that nobody used for a while.
async fn sweep(upstreams: Vec<Arc<Upstream>>) {
    let mut tick = tokio::time::interval(SWEEP_EVERY);
    loop {
        tick.tick().await;
        upstreams.iter().for_each(|upstream| upstream.pool.sweep());
    }
}

fn application(gateway: Arc<Gateway>) -> Arc<HttpProxy<Proxied>> {
    let conf = ServerConf { max_retries: 1, upstream_keepalive_pool_size: 256, ..ServerConf::default() };
    let mut proxy = HttpProxy::new(Proxied(gateway), Arc::new(conf));
    let mut options = HttpServerOptions::default();
    options.keepalive_request_limit = Some(REQUESTS_PER_CONNECTION);
    // Without TLS a caller may begin in HTTP/2 (prior knowledge, RFC 9113 §3.3).
    options.h2c = true;
    options.h2_idle_timeout = Some(IDLE);
    proxy.server_options = Some(options);
    proxy.handle_init_modules();
    Arc::new(proxy)
}

async fn accept(
    listener: &TcpListener,
    free: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = free.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((socket, peer)) => Some((socket, peer, permit)),
        Err(error) => {
            tracing::warn!(%error, "connection not accepted");
            tokio::time::sleep(ACCEPT_REST).await;
            None
        }
    }
}

#[derive(Clone)]
enum Acceptor {
    Plain,
    #[cfg(feature = "tls")]
    Tls(Arc<pingora::listeners::tls::Acceptor>),
}

impl Acceptor {
    fn new(transport: Transport) -> Self {
        match transport {
            Transport::Plain => Self::Plain,
            #[cfg(feature = "tls")]
            Transport::Tls(config) => {
                Self::Tls(Arc::new(pingora::listeners::tls::Acceptor::from_server_config(config)))
            }
        }
    }

    async fn open(&self, socket: TcpStream, peer: SocketAddr, phase: Phase) -> Option<(Stream, Speaks)> {
        let _ = socket.set_nodelay(true);
        // Who only connects takes no more than its socket.
        let speaks = if begins_as_http2(&socket).await.ok()? { Speaks::Http2 } else { Speaks::Http1 };
        let digest = digest(&socket, peer);
        match self {
            Self::Plain => Some((Box::new(Socket::over(Tcp::of(socket, digest), phase, speaks)), speaks)),
            #[cfg(feature = "tls")]
            // Rare and large: it would make every connection as large.
            Self::Tls(acceptor) => Box::pin(encrypted(acceptor, socket, digest, phase)).await,
        }
    }
}

#[cfg(feature = "tls")]
async fn encrypted(
    acceptor: &pingora::listeners::tls::Acceptor,
    socket: TcpStream,
    digest: SocketDigest,
    phase: Phase,
) -> Option<(Stream, Speaks)> {
    let mut plain = pingora::protocols::l4::stream::Stream::from(socket);
    plain.set_socket_digest(digest);
    let handshake = tokio::time::timeout(HANDSHAKE, acceptor.tls_handshake(plain)).await.ok()?;
    let refused = |error: &pingora::BError| tracing::debug!(error = %error.etype().as_str(), "no TLS");
    let stream = handshake.inspect_err(refused).ok()?;
    Some((Box::new(Socket::over(stream, phase, Speaks::Http1)), Speaks::Http1))
}
