//! The HTTP listener: metrics, health, JSON and one page. It only reads.

mod api;
mod guard;
mod listener;
mod page;
mod query;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::control::{Context, methods};
use crate::listeners::HttpSocket;

/// A running listener. Dropping it closes it.
pub struct HttpServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl HttpServer {
    /// Starts to answer requests. Must be called inside a tokio runtime.
    pub fn start(web: HttpSocket, context: Context) -> io::Result<HttpServer> {
        web.listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(web.listener)?;
        let address = listener.local_addr()?;
        let routes = routes(context, web.hosts.into());
        let task = tokio::spawn(async move {
            let listener = listener::Bounded::new(listener);
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!(%error, "the HTTP listener stopped");
            }
        });
        Ok(HttpServer { address, task })
    }

    /// The listener's address. If port 0 was asked for, the port is the one that the kernel
    /// chose.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn routes(context: Context, hosts: Arc<[String]>) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/style.css", get(page::style))
        .route("/metrics", get(metrics_text))
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .route("/api/v1/status", get(api::status))
        .route("/api/v1/flows", get(api::flows))
        .route("/api/v1/explain", get(api::explain))
        .layer(from_fn_with_state(hosts, guard::guard))
        .with_state(context)
}

/// Runs work that asks the engine on a thread that may block.
async fn blocking<T: Send + 'static>(
    context: Context,
    work: impl FnOnce(&Context) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(move || work(&context)).await {
        Ok(result) => result,
        Err(error) => Err(format!("internal error: {error}")),
    }
}

fn unavailable(why: String) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, why + "\n").into_response()
}

async fn metrics_text(Shared(context): Shared<Context>) -> Response {
    let text = |context: &Context| Ok(metrics::encode(&methods::status(context)?.metrics));
    match blocking(context, text).await {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(why) => unavailable(why),
    }
}

/// Succeeds if the engine answers.
async fn health(Shared(context): Shared<Context>) -> Response {
    match blocking(context, methods::status).await {
        Ok(_) => "ok\n".into_response(),
        Err(why) => unavailable(why),
    }
}

/// Succeeds if the engine answers, every port can carry packets and every device answers.
async fn ready(Shared(context): Shared<Context>) -> Response {
    match blocking(context, methods::status).await {
        Ok(status) => status.unready().map_or_else(|| "ready\n".into_response(), unavailable),
        Err(why) => unavailable(why),
    }
}
