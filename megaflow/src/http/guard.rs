//! Checks for every request: its method only reads, it names this host, and the answer's headers
//! let a browser run nothing.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// The page can run no script, load nothing from another site and be shown in no frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// Checks a request and hardens its answer. `hosts` are the names of `[http] hosts`.
pub(super) async fn guard(
    State(hosts): State<Arc<[String]>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = if request.method() != Method::GET && request.method() != Method::HEAD {
        let allow = [(header::ALLOW, "GET, HEAD")];
        (StatusCode::METHOD_NOT_ALLOWED, allow, "this listener only reads\n").into_response()
    } else if is_ours(&request, &hosts) {
        next.run(request).await
    } else {
        let why = "unknown Host: use the address, localhost or the machine's name, or add the \
                   name to hosts in [http] of the configuration\n";
        (StatusCode::MISDIRECTED_REQUEST, why).into_response()
    };
    harden(response.headers_mut());
    response
}

fn harden(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Returns true if the request names this host by an address or by one of our names. A page of
/// another site can make its own name resolve to our address, but it can't make the browser send
/// a name other than that site's. A request without a name does not come from a browser, but from
/// a health check that speaks HTTP/1.0.
fn is_ours(request: &Request, hosts: &[String]) -> bool {
    let is_our_name = |host: &str| is_our_name(host, hosts);
    let in_line = request.uri().authority().is_none_or(|authority| is_our_name(authority.as_str()));
    let mut said = request.headers().get_all(header::HOST).iter();
    in_line
        && match (said.next(), said.next()) {
            (Some(host), None) => host.to_str().is_ok_and(is_our_name),
            (None, _) => request.version() == Version::HTTP_10,
            (Some(_), Some(_)) => false,
        }
}

fn is_our_name(host: &str, hosts: &[String]) -> bool {
    if host.parse::<std::net::SocketAddr>().is_ok() || host.parse::<std::net::IpAddr>().is_ok() {
        return true;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    if let Some(address) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let machine = machine.trim();
    name.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|host| name.eq_ignore_ascii_case(host))
        || (!machine.is_empty() && name.eq_ignore_ascii_case(machine))
}

#[cfg(test)]
mod tests {
    use super::is_our_name;

    #[test]
    fn names_of_others_are_not_ours() {
        let hosts = ["sw1.example".to_owned()];
        for ours in ["127.0.0.1", "127.0.0.1:80", "[::1]:80", "[::1]", "LOCALHOST:9464"] {
            assert!(is_our_name(ours, &hosts), "{ours}");
        }
        for ours in ["sw1.example", "SW1.example:9464"] {
            assert!(is_our_name(ours, &hosts) && !is_our_name(ours, &[]), "{ours}");
        }
        for other in [
            "",
            "sw1.example.evil",
            "sw1",
            "evil.example",
            "localhost.evil.example",
            "localhost:x",
            "[evil]:80",
        ] {
            assert!(!is_our_name(other, &hosts), "{other}");
        }
    }
}
