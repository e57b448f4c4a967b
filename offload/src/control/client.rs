//! One connection to the control socket.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::framing::Framer;
use super::{Context, Presence, methods};

/// From connecting, or the last reply, to the end of the next request.
const REQUEST: Duration = Duration::from_secs(30);
/// For taking a reply.
const REPLY: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    id: Value,
    method: String,
    params: Vec<Value>,
}

/// Answers requests, one after the other, until the client leaves, is too slow, or sends what is
/// no request.
pub(super) async fn serve(mut stream: UnixStream, context: Arc<Context>, presence: Presence) {
    let mut framer = Framer::default();
    loop {
        let request = match timeout(REQUEST, receive(&mut stream, &mut framer)).await {
            Ok(Ok(Some(request))) => request,
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(message)) => {
                let _ = send(&mut stream, &reply(&Value::Null, Err(message))).await;
                return;
            }
        };
        presence.set_busy(true);
        let id = request.id.clone();
        let result = carry_out(context.clone(), request).await;
        if !send(&mut stream, &reply(&id, result)).await {
            return;
        }
        presence.set_busy(false);
    }
}

/// The next request; `None` at the end of the stream.
async fn receive(stream: &mut UnixStream, framer: &mut Framer) -> Result<Option<Request>, String> {
    let mut bytes = [0; 4096];
    loop {
        if let Some(object) = framer.next().map_err(|error| error.to_string())? {
            return serde_json::from_slice(&object)
                .map(Some)
                .map_err(|error| format!("no request: {error}"));
        }
        match stream.read(&mut bytes).await {
            Ok(0) | Err(_) => return Ok(None),
            Ok(read) => framer.push(&bytes[..read]),
        }
    }
}

async fn carry_out(context: Arc<Context>, request: Request) -> Result<String, String> {
    let word = |value: Value| match value {
        Value::String(text) => Ok(text),
        _ => Err("a parameter is no string".to_owned()),
    };
    let params: Vec<String> = request.params.into_iter().map(word).collect::<Result<_, _>>()?;
    tracing::debug!(method = request.method, "request");
    let work = move || methods::call(&context, &request.method, &params);
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(format!("internal error: {error}")),
    }
}

/// As OVS words it: the result is a string, an error ends with a newline.
fn reply(id: &Value, result: Result<String, String>) -> String {
    match result {
        Ok(text) => json!({"id": id, "result": text, "error": null}),
        Err(text) => json!({"id": id, "result": null, "error": format!("{text}\n")}),
    }
    .to_string()
}

async fn send(stream: &mut UnixStream, text: &str) -> bool {
    matches!(timeout(REPLY, stream.write_all(text.as_bytes())).await, Ok(Ok(())))
}
