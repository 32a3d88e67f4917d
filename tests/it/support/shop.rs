//! The sandbox merchant, in the process of the tests.

use std::net::SocketAddr;

use permyx::sandbox::Sandbox;
use tokio::sync::oneshot;

use super::http::get;

/// A shop with a book of its own; it ends when the value is dropped.
pub struct Shop {
    pub address: SocketAddr,
    runtime: tokio::runtime::Runtime,
    stop: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Shop {
    pub fn open() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = runtime.spawn(Sandbox::serve(listener, async {
            let _ = stopped.await;
        }));
        Self { address, runtime, stop: Some(stop), served }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it says of itself: `executed`, `refused`, `mostPerTrace`.
    pub fn stats(&self, member: &str) -> u64 {
        get(self.address, "/stats").json()[member].as_u64().unwrap()
    }

    /// Asks it to close and waits until it did.
    pub fn close(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.runtime.block_on(&mut self.served).unwrap().unwrap();
    }
}
