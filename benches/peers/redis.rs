//! A Redis as a ledger's has to be set up, on the processor of the load side.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::proxy::free_address;

pub struct Redis {
    pub address: SocketAddr,
    child: Child,
    _dir: TempDir,
}

impl Redis {
    pub fn start() -> Self {
        let (dir, address) = (tempfile::tempdir().unwrap(), free_address());
        let port = address.port();
        let text = format!(
            "bind 127.0.0.1\nport {port}\ndir {}\nappendonly yes\nappendfsync everysec\nmaxmemory-policy noeviction\nsave \"\"\n",
            dir.path().display()
        );
        let path = dir.path().join("redis.conf");
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new("redis-server");
        let child = command.arg(&path).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("redis-server");
        while TcpStream::connect(address).is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { address, child, _dir: dir }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
