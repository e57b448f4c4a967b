//! One connection to the control socket.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::format::Format;
use super::framing::Framer;
use super::methods::{self, Answer};
use super::{Context, Presence};

/// The time limit for a request, from the connect or the last reply to the request's end.
const REQUEST: Duration = Duration::from_secs(30);
/// The time limit for a client to take a reply.
const REPLY: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    id: Value,
    method: String,
    params: Vec<Value>,
}

/// Answers requests, one after the other, until the client leaves, is too slow, or sends bytes
/// that are not a request.
pub(super) async fn serve(mut stream: UnixStream, context: Arc<Context>, presence: Presence) {
    let mut framer = Framer::default();
    let mut format = Format::default();
    loop {
        let request = match timeout(REQUEST, receive(&mut stream, &mut framer)).await {
            Ok(Ok(Some(request))) => request,
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(message)) => {
                let _ = send(&mut stream, &refusal(&Value::Null, &message)).await;
                return;
            }
        };
        presence.set_busy(true);
        let id = request.id.clone();
        let text = match carry_out(context.clone(), format, request).await {
            Ok(Answer::Text(text)) => reply(&id, &format.of_text(text)),
            Ok(Answer::Json(document)) => reply(&id, &document),
            Ok(Answer::Options(new)) => {
                format = new;
                reply(&id, &format.of_text(String::new()))
            }
            Err(message) => refusal(&id, &message),
        };
        if !send(&mut stream, &text).await {
            return;
        }
        presence.set_busy(false);
    }
}

/// Returns the next request, or `None` at the end of the stream.
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

async fn carry_out(
    context: Arc<Context>,
    format: Format,
    request: Request,
) -> Result<Answer, String> {
    let word = |value: Value| match value {
        Value::String(text) => Ok(text),
        _ => Err("a parameter is no string".to_owned()),
    };
    let params: Vec<String> = request.params.into_iter().map(word).collect::<Result<_, _>>()?;
    tracing::debug!(method = request.method, "request");
    let work = move || methods::call(&context, format, &request.method, &params);
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(format!("internal error: {error}")),
    }
}

fn reply(id: &Value, result: &Value) -> String {
    json!({"id": id, "result": result, "error": null}).to_string()
}

/// Makes the reply of a request that failed. The error is a string that ends with a newline in
/// every form, as in OVS.
fn refusal(id: &Value, message: &str) -> String {
    json!({"id": id, "result": null, "error": format!("{message}\n")}).to_string()
}

async fn send(stream: &mut UnixStream, text: &str) -> bool {
    matches!(timeout(REPLY, stream.write_all(text.as_bytes())).await, Ok(Ok(())))
}
