//! A TCP relay between two parts of a system. What it does to either direction is switched while
//! it runs: for all connections, or only for those that are open now.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// All relays of the process run here: they must not wait for the clients of a test.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From who connected to the server.
    Out,
    /// From the server back.
    Back,
}

/// What happens to the bytes of one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    Pass,
    /// Every piece arrives so much later.
    Delay(Duration),
    /// Pieces are taken and thrown away: the sender believes that they arrived.
    Swallow,
    /// Nothing is taken: the connection stays open and silent.
    BlackHole,
    /// The next piece passes up to this many bytes; then the connection ends.
    Truncate(usize),
    /// The connection ends at the next piece, which is lost.
    Reset,
    /// In place of each piece, these bytes.
    Inject(Vec<u8>),
}

/// The relay; it ends with the value.
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    server: SocketAddr,
    /// For connections to come.
    faults: [Mutex<Fault>; 2],
    /// For those of replicas, both ways.
    replication: Mutex<Fault>,
    lanes: Mutex<Vec<Lane>>,
    accepting: watch::Sender<bool>,
    /// Somebody listens at the address.
    listening: AtomicBool,
    /// Pieces that were not just passed on.
    touched: AtomicUsize,
    connections: AtomicUsize,
}

/// The switches of one connection, and whether it carries replication. It ends when they are gone.
struct Lane {
    switches: [watch::Sender<Fault>; 2],
    replicates: Arc<AtomicBool>,
}

impl Way {
    fn index(self) -> usize {
        usize::from(self == Self::Back)
    }
}

impl Relay {
    pub fn to(server: SocketAddr) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), server)
    }

    /// Listens at this address of this machine.
    pub fn at(address: SocketAddr, server: SocketAddr) -> Self {
        let listener = RUNTIME.block_on(TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server,
            faults: [Fault::Pass, Fault::Pass].map(Mutex::new),
            replication: Mutex::new(Fault::Pass),
            lanes: Mutex::default(),
            accepting: watch::Sender::new(true),
            listening: AtomicBool::new(true),
            touched: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
        });
        let task = RUNTIME.spawn(accept(address, Some(listener), shared.clone()));
        Self { address, shared, task }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Does this to the direction, on all connections.
    pub fn set(&self, way: Way, fault: Fault) {
        *self.shared.faults[way.index()].lock().unwrap() = fault.clone();
        self.set_open(way, fault);
    }

    /// Does this on the connections that are open now; later ones are not touched.
    fn set_open(&self, way: Way, fault: Fault) {
        for lane in self.shared.lanes.lock().unwrap().iter() {
            lane.switches[way.index()].send_replace(fault.clone());
        }
    }

    /// Does this on one of the connections that are open now.
    pub fn set_one(&self, nth: usize, way: Way, fault: Fault) {
        let lanes = self.shared.lanes.lock().unwrap();
        let open: Vec<_> = lanes.iter().filter(|lane| lane.switches[0].receiver_count() > 0).collect();
        if !open.is_empty() {
            open[nth % open.len()].switches[way.index()].send_replace(fault);
        }
    }

    /// Does this to both ways of the connections of replicas, and to no other.
    pub fn set_replication(&self, fault: Fault) {
        *self.shared.replication.lock().unwrap() = fault.clone();
        for lane in self.shared.lanes.lock().unwrap().iter().filter(|lane| lane.replicates.load(Ordering::Acquire)) {
            lane.switches.iter().for_each(|switch| drop(switch.send_replace(fault.clone())));
        }
    }

    /// Nobody listens any more, and the open connections end.
    pub fn refuse(&self) {
        self.shared.accepting.send_replace(false);
        self.cut();
        while !self.is_refusing() || self.shared.listening.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
    }

    fn is_refusing(&self) -> bool {
        std::net::TcpStream::connect(self.address).is_err()
    }

    /// Ends the open connections.
    pub fn cut(&self) {
        self.shared.lanes.lock().unwrap().clear();
    }

    /// Passes everything on again. Connections that lost bytes are not whole again, so they end.
    pub fn heal(&self) {
        for fault in self.shared.faults.iter().chain([&self.shared.replication]) {
            *fault.lock().unwrap() = Fault::Pass;
        }
        self.cut();
        self.shared.accepting.send_replace(true);
        while !self.shared.listening.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
    }

    /// How many pieces it did something to.
    pub fn touched(&self) -> usize {
        self.shared.touched.load(Ordering::Relaxed)
    }

    /// How many connections it has taken so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn accept(address: SocketAddr, mut listener: Option<TcpListener>, shared: Arc<Shared>) {
    let mut accepting = shared.accepting.subscribe();
    loop {
        if !*accepting.borrow_and_update() {
            drop(listener.take());
            shared.listening.store(false, Ordering::Release);
            let _ = accepting.wait_for(|accepting| *accepting).await;
        }
        let open = match listener.take() {
            Some(open) => open,
            None => TcpListener::bind(address).await.unwrap(),
        };
        shared.listening.store(true, Ordering::Release);
        tokio::select! {
            accepted = open.accept() => {
                let (client, _) = accepted.unwrap();
                tokio::spawn(connect(client, shared.clone()));
            }
            _ = accepting.changed() => {}
        }
        listener = Some(open);
    }
}

async fn connect(client: TcpStream, shared: Arc<Shared>) {
    shared.connections.fetch_add(1, Ordering::Relaxed);
    let Ok(server) = TcpStream::connect(shared.server).await else { return };
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    let switches = [0, 1].map(|way: usize| watch::Sender::new(shared.faults[way].lock().unwrap().clone()));
    let [out, back] = [switches[0].subscribe(), switches[1].subscribe()];
    let replicates = Arc::new(AtomicBool::new(false));
    {
        let mut lanes = shared.lanes.lock().unwrap();
        lanes.retain(|lane| lane.switches[0].receiver_count() > 0);
        lanes.push(Lane { switches, replicates: replicates.clone() });
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    // Whichever direction ends first ends the connection.
    tokio::select! {
        () = carry(from_client, to_server, out, &shared, Some(&replicates)) => {}
        () = carry(from_server, to_client, back, &shared, None) => {}
    }
}

/// What a replica says when it asks for the stream.
const REPLICA: &[u8] = b"PSYNC";

/// Carries one direction until it ends, or its switch is gone.
async fn carry(
    mut from: OwnedReadHalf,
    to: OwnedWriteHalf,
    mut fault: watch::Receiver<Fault>,
    shared: &Shared,
    replicates: Option<&AtomicBool>,
) {
    let (pieces, due) = mpsc::unbounded_channel();
    let writing = tokio::spawn(write(to, due));
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let is_taking = *fault.borrow_and_update() != Fault::BlackHole;
        let count = tokio::select! {
            changed = fault.changed() => match changed {
                Ok(()) => continue,
                Err(_) => break,
            },
            count = from.read(&mut buffer), if is_taking => count.unwrap_or(0),
        };
        if count == 0 {
            break;
        }
        // As it is told now: it may have been told while the piece came.
        let now = fault.borrow().clone();
        if let Some(flag) = replicates.filter(|_| buffer[..count].windows(REPLICA.len()).any(|word| word == REPLICA)) {
            flag.store(true, Ordering::Release);
            if *shared.replication.lock().unwrap() != Fault::Pass {
                break;
            }
        }
        shared.touched.fetch_add(usize::from(now != Fault::Pass), Ordering::Relaxed);
        let piece = buffer[..count].to_vec();
        let (piece, delay, ends) = match now {
            Fault::Pass => (piece, Duration::ZERO, false),
            Fault::Delay(delay) => (piece, delay, false),
            Fault::Swallow | Fault::BlackHole => continue,
            Fault::Truncate(keep) => (piece[..keep.min(count)].to_vec(), Duration::ZERO, true),
            Fault::Reset => break,
            Fault::Inject(bytes) => (bytes, Duration::ZERO, false),
        };
        let _ = pieces.send((Instant::now() + delay, piece));
        if ends {
            break;
        }
    }
    drop(pieces);
    let _ = writing.await;
}

async fn write(mut to: OwnedWriteHalf, mut due: mpsc::UnboundedReceiver<(Instant, Vec<u8>)>) {
    while let Some((at, piece)) = due.recv().await {
        if at > Instant::now() {
            tokio::time::sleep_until(at).await;
        }
        if to.write_all(&piece).await.is_err() {
            return;
        }
    }
}
