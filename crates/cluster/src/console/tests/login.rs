//! The page that asks who somebody is, whole in both languages, and in whatever words it says why.

use super::markup::{lawful, shape};
use super::{golden, named};
use crate::args::output::Lang;
use crate::console::frame::Frame;
use crate::console::login::{Login, Why};
use askama::Template;

fn login(why: Why, lang: Lang) -> String {
    let frame = Frame { lang, here: "/history".to_owned(), ..Frame::default() };
    Login::of(why, frame).render().unwrap()
}

#[test]
fn golden_of_the_login() {
    golden("login.html", &named(&login(Why::New, Lang::En)));
    golden("login.zh.html", &named(&login(Why::New, Lang::Zh)));
}

#[test]
fn it_says_why_and_keeps_the_laws() {
    let unasked = |text: &str| Why::Unasked(text.to_owned());
    for lang in [Lang::En, Lang::Zh] {
        for (name, why) in [
            ("login", Why::New),
            ("session-expired", Why::Expired),
            ("login-wrong", Why::Wrong),
            ("login-unasked", unasked("<script>")),
        ] {
            let html = login(why, lang);
            lawful(name, &html);
            assert!(
                html.contains(&format!("data-state=\"{name}\"")) && html.contains("name=\"token\""),
                "{html}"
            );
        }
    }
    assert_eq!(shape(&login(unasked("<b>\"'"), Lang::En)), shape(&login(unasked("x"), Lang::En)));
}
