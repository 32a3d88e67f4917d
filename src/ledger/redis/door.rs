//! A plain connection to the shared server, for others than the ledger.

use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, ProtocolVersion, RedisError, RedisResult};

use super::find::{Finder, learn, slot};
use super::line::{Stream, dial};
use super::options::{Address, RedisOptions, Topology};
use super::trouble::Trouble;

/// Time to find the server and to connect.
const PATIENCE: Duration = Duration::from_secs(2);

/// Opens connections to where the keys with one tag are: `{tag}…`.
pub struct Door {
    options: RedisOptions,
    tag: &'static str,
    /// Where the newest connection leads.
    leads_to: Mutex<Option<Address>>,
}

impl Door {
    #[must_use]
    pub fn to(options: RedisOptions, tag: &'static str) -> Self {
        Self { options, tag, leads_to: Mutex::default() }
    }

    /// A new connection that speaks version 3 of the protocol: it can be told things.
    pub async fn open(&self, config: AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
        tokio::time::timeout(PATIENCE, self.connect(config)).await.unwrap_or(Err(failed(Trouble::TimedOut)))
    }

    async fn connect(&self, config: AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
        let access = &self.options.access;
        let address = self.address().await.map_err(failed)?;
        *self.leads_to.lock() = Some(address.clone());
        let login = access.login().map_err(failed)?.set_protocol(ProtocolVersion::RESP3);
        let (connection, driver) = match dial(&address, access).await.map_err(failed)? {
            Stream::Plain(stream) => {
                let (connection, driver) = MultiplexedConnection::new_with_config(&login, stream, config).await?;
                (connection, tokio::spawn(driver))
            }
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => {
                let (connection, driver) = MultiplexedConnection::new_with_config(&login, *stream, config).await?;
                (connection, tokio::spawn(driver))
            }
        };
        // It ends with the connection that it drives.
        drop(driver);
        Ok(connection)
    }

    /// False when the server is another one by now. One that cannot be found proves nothing.
    pub async fn is_current(&self) -> bool {
        let now = tokio::time::timeout(PATIENCE, self.address()).await;
        let known = self.leads_to.lock().clone();
        !matches!((now, known), (Ok(Ok(now)), Some(known)) if now != known)
    }

    async fn address(&self) -> Result<Address, Trouble> {
        let options = &self.options;
        match &options.topology {
            Topology::Standalone(address) => Ok(address.clone()),
            Topology::Sentinel { sentinels, primary } => {
                let finder = Finder::Sentinels {
                    sentinels: sentinels.clone().into(),
                    primary: primary.as_str().into(),
                    access: options.sentinel_access.clone(),
                };
                finder.find(options.deadline).await.map_err(|why| why.trouble())
            }
            Topology::Cluster { seeds } => {
                let map = learn(seeds, &options.access, options.deadline).await.ok_or(Trouble::ClusterDown)?;
                map.server(slot(self.tag)).cloned().ok_or(Trouble::ClusterDown)
            }
        }
    }
}

fn failed(trouble: Trouble) -> RedisError {
    RedisError::from((ErrorKind::Io, "no connection to the shared ledger", trouble.to_string()))
}
