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
use super::methods::{self, MethodAnswer, Pages};
use super::{Context, Presence, paging};

/// The time limit for a request, from the connect or the last reply to the request's end.
const REQUEST: Duration = Duration::from_secs(30);
/// A client that takes no byte of its reply for so long is sent away.
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
                let _ = send(&mut stream, &refusal(&Value::Null, &message), REPLY).await;
                return;
            }
        };
        presence.set_busy(true);
        let id = request.id.clone();
        let text = match carry_out(context.clone(), format, request).await {
            Ok(MethodAnswer::Text(text)) => reply(&id, &format.of_text(text)),
            Ok(MethodAnswer::Json(document)) => reply(&id, &document),
            Ok(MethodAnswer::Pages(pages)) => {
                let empty = reply(&id, &format.of_text(String::new()));
                match send_pages(&mut stream, &context, &empty, pages, REPLY).await {
                    Ok(true) => String::new(),
                    Ok(false) => return,
                    Err(message) => refusal(&id, &message),
                }
            }
            Ok(MethodAnswer::Options(new)) => {
                format = new;
                reply(&id, &format.of_text(String::new()))
            }
            Err(message) => refusal(&id, &message),
        };
        if !send(&mut stream, &text, REPLY).await {
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
) -> Result<MethodAnswer, String> {
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

/// Sends a reply whose text is made a page at a time: the next page is made when the client has
/// taken the one before. `empty` is the reply with an empty text.
///
/// Returns false if the connection can't go on. An error says that nothing was sent and why. If a
/// later page can't be made, the reply has no place for the error any more. The connection then
/// ends within the reply, so that no client takes what it got for the whole.
async fn send_pages(
    stream: &mut UnixStream,
    context: &Context,
    empty: &str,
    pages: Pages,
    patience: Duration,
) -> Result<bool, String> {
    let (head, tail) = empty.rsplit_once("\"\"").unwrap_or((empty, ""));
    let mut next = next_part(context, pages).await?;
    if !send(stream, &format!("{head}\""), patience).await {
        return Ok(false);
    }
    while let Some((pages, part)) = next {
        if !send(stream, &part, patience).await {
            return Ok(false);
        }
        drop(part);
        next = match next_part(context, pages).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(error, "a reply ends before its end");
                return Ok(false);
            }
        };
    }
    Ok(send(stream, &format!("\"{tail}"), patience).await)
}

/// Makes the next part of a text, as it stands within a JSON string; `None` after the last one.
async fn next_part(context: &Context, mut pages: Pages) -> Result<Option<(Pages, String)>, String> {
    let part = |context: &Context| {
        let text = pages.next(context)?;
        Ok(text.map(|text| (pages, within_quotes(&text))))
    };
    paging(context, part).await
}

/// Returns the text as it stands within a JSON string. Most lines of a dump have no character
/// that needs an escape: these are copied as a whole.
fn within_quotes(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            out.push_str("\\n");
        }
        let plain = |all, byte| all & (byte >= b' ') & (byte != b'"') & (byte != b'\\');
        if line.bytes().fold(true, plain) {
            out.push_str(line);
        } else {
            let quoted = Value::from(line).to_string();
            out.push_str(quoted.get(1..quoted.len() - 1).unwrap_or_default());
        }
    }
    out
}

/// Sends a text. Returns false if the client has gone, or has taken no byte for `patience`.
async fn send(stream: &mut UnixStream, text: &str, patience: Duration) -> bool {
    let mut left = text.as_bytes();
    while !left.is_empty() {
        match timeout(patience, stream.write(left)).await {
            Ok(Ok(taken)) if taken > 0 => left = left.get(taken..).unwrap_or_default(),
            Ok(_) => return false,
            Err(_) => {
                let seconds = patience.as_secs_f32();
                tracing::warn!(seconds, "a client took nothing of its reply and is sent away");
                return false;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests;
