//! A plain connection to the shared server, for others than the ledger.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, ProtocolVersion, RedisError, RedisResult};

use super::find::{Finder, learn, slot};
use super::line::{Stream, dial};
use super::options::{Address, RedisOptions, Topology};
use super::trouble::Trouble;

/// Time to find the server and to connect.
const PATIENCE: Duration = Duration::from_secs(2);

/// Opens connections to where the keys with one tag are: `{tag}…`.
#[derive(Clone)]
pub struct Door {
    options: RedisOptions,
    tag: &'static str,
}

impl Door {
    #[must_use]
    pub fn to(options: RedisOptions, tag: &'static str) -> Self {
        Self { options, tag }
    }

    /// A new connection that speaks version 3 of the protocol: it can be told things.
    pub async fn open(&self, config: AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
        tokio::time::timeout(PATIENCE, self.connect(config)).await.unwrap_or(Err(failed(Trouble::TimedOut)))
    }

    async fn connect(&self, config: AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
        let access = &self.options.access;
        let address = self.address().await.map_err(failed)?;
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
