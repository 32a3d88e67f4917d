//! pingora, and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::proxy::{HttpProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;

/// First argument of the process that is one.
pub const ARGUMENT: &str = "run-bare-pingora";

struct Bare(SocketAddr);

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

/// Runs until it is killed.
pub fn run() {
    let merchant = std::env::args().nth(2).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{{\"gateway\":\"http://{}\"}}", listener.local_addr().unwrap());
        let mut proxy = HttpProxy::new(Bare(merchant), Arc::default());
        proxy.handle_init_modules();
        let (proxy, (_keep, stop)) = (Arc::new(proxy), tokio::sync::watch::channel(false));
        while let Ok((socket, _)) = listener.accept().await {
            let (proxy, stop) = (proxy.clone(), stop.clone());
            socket.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let stream = pingora::protocols::l4::stream::Stream::from(socket);
                proxy.process_new(Box::new(stream), &stop).await;
            });
        }
    });
}
