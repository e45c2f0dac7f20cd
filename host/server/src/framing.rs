//! The wall before the routes: a request of which two readers could think differently reaches none.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Request, Response, Uri, Version};
use futures_util::TryFutureExt;
use futures_util::future::{Either, MapOk, Ready, ready};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};

use crate::error::HttpError;
use crate::once::{Twice, once};

/// The routes, for requests that can be read in one way only.
#[derive(Clone)]
pub(crate) struct Unambiguous(TowerToHyperService<Router>);

type Answer = Response<Body>;

impl Unambiguous {
    pub(crate) fn new(router: Router) -> Self {
        Unambiguous(TowerToHyperService::new(router))
    }
}

impl Service<Request<Incoming>> for Unambiguous {
    type Response = Answer;
    type Error = Infallible;
    type Future = Either<
        Ready<Result<Answer, Infallible>>,
        MapOk<TowerToHyperServiceFuture<Router, Request<Incoming>>, fn(Answer) -> Answer>,
    >;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        if let Err(what) = check(request.version(), request.uri(), request.headers()) {
            return Either::Left(ready(Ok(last(HttpError::Ambiguous(what).into_response()))));
        }
        // A length beside the coding has been taken away by now; somebody before us may have gone by it, and have seen another
        // request where this one ends.
        let then = if request.headers().contains_key(TRANSFER_ENCODING) { last } else { std::convert::identity };
        Either::Right(self.0.call(request).map_ok(then as fn(Answer) -> Answer))
    }
}

/// What a request says twice, or in a way that not everybody understands.
fn check(version: Version, uri: &Uri, headers: &HeaderMap) -> Result<(), &'static str> {
    let coding = once(headers, TRANSFER_ENCODING).map_err(|Twice| "Transfer-Encoding, which stands twice")?;
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return Err("Transfer-Encoding, which can only be `chunked`");
    }
    let host = match once(headers, HOST).map_err(|Twice| "Host, which stands twice")? {
        Some(host) => Some(authority(host).ok_or("Host, which is no name with a port")?),
        None if version < Version::HTTP_11 => None,
        None => return Err("Host, which is missing"),
    };
    match (uri.authority(), host) {
        (Some(target), Some(host)) if *target != host => Err("Host, which differs from the request's target"),
        _ => Ok(()),
    }
}

fn authority(host: &HeaderValue) -> Option<Authority> {
    let authority = host.to_str().ok()?.parse::<Authority>().ok()?;
    (!authority.as_str().contains('@')).then_some(authority)
}

/// Nothing that comes after this answer is looked at.
fn last(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}
