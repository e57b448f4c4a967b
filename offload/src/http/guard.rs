//! What every request passes: only reading, only for us, nothing that a browser may run.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// No script, nothing from elsewhere, in no frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// What scrapers and load balancers ask for, by whatever name they know us; it says numbers.
const OPEN: [&str; 3] = ["/metrics", "/healthz", "/readyz"];

pub(super) async fn guard(request: Request, next: Next) -> Response {
    let mut response = if request.method() != Method::GET && request.method() != Method::HEAD {
        let allow = [(header::ALLOW, "GET, HEAD")];
        (StatusCode::METHOD_NOT_ALLOWED, allow, "this listener only reads\n").into_response()
    } else if OPEN.contains(&request.uri().path()) || is_ours(&request) {
        next.run(request).await
    } else {
        let why = "unknown Host: use the address, localhost or the machine's name\n";
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

/// A page elsewhere can make a browser look its own name up as our address; it can't make the
/// browser say another name than its own. An address or our own name is therefore us.
fn is_ours(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let in_line = request.uri().authority().is_none_or(|authority| is_our_name(authority.as_str()));
    in_line && host.to_str().is_ok_and(is_our_name)
}

fn is_our_name(host: &str) -> bool {
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
        || (!machine.is_empty() && name.eq_ignore_ascii_case(machine))
}

#[cfg(test)]
mod tests {
    use super::is_our_name;

    #[test]
    fn names_of_others_are_not_ours() {
        for ours in ["127.0.0.1", "127.0.0.1:80", "[::1]:80", "[::1]", "LOCALHOST:9464"] {
            assert!(is_our_name(ours), "{ours}");
        }
        for other in ["", "evil.example", "localhost.evil.example", "localhost:x", "[evil]:80"] {
            assert!(!is_our_name(other), "{other}");
        }
    }
}
