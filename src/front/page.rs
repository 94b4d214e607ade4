//! Names of web pages in the URLs that they use.

use hyper::Uri;

use crate::proto::page::Page;

/// The page that a request says it comes from, by `?page=`. Clients let a page set their URL, but hardly ever their
/// headers.
pub(super) fn of(uri: &Uri) -> Option<Page> {
    let query = form_urlencoded::parse(uri.query()?.as_bytes());
    let mut names = query.filter(|(key, _)| key == "page");
    names.next().map(|(_, name)| Page::named(name.as_bytes()))
}
