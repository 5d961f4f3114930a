//! Our own listener on the loopback: when a starved host answers even us in time, who does not is at fault himself.

use std::time::{Duration, Instant};

use hostward_core::time::Ms;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What takes longer is not measured further.
const WITHIN: Duration = Duration::from_secs(10);

/// How long a connection to ourselves takes that carries one byte there and one back. None: it could not be made.
pub(crate) async fn echo() -> Option<Ms> {
    let began = Instant::now();
    let there_and_back = async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let answer = async {
            let (mut stream, _) = listener.accept().await?;
            let byte = stream.read_u8().await?;
            stream.write_u8(byte).await
        };
        let ask = async {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_u8(1).await?;
            stream.read_u8().await
        };
        tokio::try_join!(answer, ask)
    };
    tokio::time::timeout(WITHIN, there_and_back).await.ok()?.ok()?;
    Some(Ms(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn we_answer_ourselves() {
        assert!(super::echo().await.is_some());
    }
}
