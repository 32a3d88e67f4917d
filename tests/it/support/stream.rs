//! A reader of the stream of events.

use std::collections::VecDeque;
use std::net::SocketAddr;

use permyx::net::events::{Block, Blocks};

use super::http::{Answer, Connection};

/// One open stream. Dropped, it is cut off.
pub struct Stream {
    connection: Connection,
    blocks: Blocks,
    waiting: VecDeque<Block>,
}

impl Stream {
    /// Sends the request and reads the head of the answer; another status than 200 is a refusal.
    pub fn open(address: SocketAddr, request: Vec<u8>) -> Result<Self, Answer> {
        let mut connection = Connection::open(address);
        connection.send(request);
        let (status, headers) = connection.head().unwrap().unwrap();
        if status != 200 {
            return Err(Answer { status, headers, body: Vec::new() });
        }
        Ok(Self { connection, blocks: Blocks::default(), waiting: VecDeque::new() })
    }

    /// The next event, by its index and its bytes; `None` when the stream has ended.
    pub fn next(&mut self) -> Option<(u64, String)> {
        loop {
            while let Some(block) = self.waiting.pop_front() {
                if let Some(data) = block.data {
                    return Some((block.id.unwrap().parse().unwrap(), data));
                }
            }
            let chunk = self.connection.chunk().unwrap()?;
            self.waiting.extend(self.blocks.feed(&chunk).unwrap());
        }
    }
}
