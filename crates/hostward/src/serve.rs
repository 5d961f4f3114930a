//! The metrics endpoint: `GET /metrics`, and a page that says where it is.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// Scrapers at once; a further one waits in the kernel's queue.
const SCRAPERS_MAX: usize = 16;
const HEAD_PATIENCE: Duration = Duration::from_secs(5);

/// Somebody wants the metrics.
pub(crate) type Scrape = oneshot::Sender<String>;

/// Listens until the daemon ends.
pub(crate) async fn listen(
    at: SocketAddr,
    scrapes: mpsc::Sender<Scrape>,
) -> std::io::Result<tokio::task::JoinHandle<()>> {
    let listener = TcpListener::bind(at).await?;
    let places = std::sync::Arc::new(tokio::sync::Semaphore::new(SCRAPERS_MAX));
    Ok(tokio::spawn(async move {
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let scrapes = scrapes.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(request, scrapes.clone()));
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_PATIENCE)
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service);
                // A scraper that hangs up is its own affair; one that never ends loses its place.
                let _ = tokio::time::timeout(HEAD_PATIENCE * 6, connection).await;
                drop(place);
            });
        }
    }))
}

async fn answer(
    request: Request<Incoming>,
    scrapes: mpsc::Sender<Scrape>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => {
            let (send, receive) = oneshot::channel();
            match (scrapes.send(send).await, receive.await) {
                (Ok(()), Ok(text)) => (StatusCode::OK, "text/plain; version=0.0.4", text),
                _ => (StatusCode::SERVICE_UNAVAILABLE, "text/plain", "the daemon is ending\n".to_owned()),
            }
        }
        (&Method::GET, "/") => (StatusCode::OK, "text/plain", "hostward: the metrics are at /metrics\n".to_owned()),
        (&Method::GET, _) => (StatusCode::NOT_FOUND, "text/plain", "not found; try /metrics\n".to_owned()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    Ok(response)
}
