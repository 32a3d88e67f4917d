//! `permyx timeline`: the story of one execution, as the control plane tells it.

use std::io::Write;

use clap::Args;

use super::ask::{Asked, escaped};
use super::error::CliError;

/// The story of one execution.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  permyx timeline last\n  permyx timeline trc_0199f3a16c1e7c559d0e2f6a4d1f9b10\n  \
                        permyx timeline 1001 --json")]
pub struct TimelineArgs {
    /// A trace (trc_…), a token's jti, an execution (exec_…), an order, or `last`
    id: String,
    /// Where the control plane is
    #[arg(long, env = "PERMYX_URL", default_value = "http://127.0.0.1:8481")]
    url: String,
    /// The key of a merchant, an auditor or an operator
    #[arg(long, env = "PERMYX_EVIDENCE_KEY", hide_env_values = true, default_value = "permyx_merchant_YOUR_KEY")]
    key: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb and writes the story.
pub async fn run(args: &TimelineArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let path = format!("/v1/evidence/timeline/{}", escaped(&args.id));
    Asked { url: &args.url, path: &path, key: Some(&args.key) }.write_answer(args.json, out).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::{HeaderMap, StatusCode};
    use axum::response::IntoResponse;
    use axum::routing::get;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: TimelineArgs,
    }

    async fn said(line: &[&str]) -> Result<String, CliError> {
        let command = Command::try_parse_from(["timeline"].iter().chain(line)).unwrap();
        let mut out = Vec::new();
        run(&command.args, &mut out).await.map(|()| String::from_utf8(out).unwrap())
    }

    /// Answers as the API does, for the order `a/b`.
    async fn served() -> String {
        let answer = async |path: axum::extract::Path<String>, headers: HeaderMap| {
            if path.as_str() != "a/b" || headers["x-api-key"] != "permyx_merchant_x" {
                let refusal = r#"{"error":{"code":"NOT_FOUND","message":"there is nothing here"}}"#;
                return (StatusCode::NOT_FOUND, refusal).into_response();
            }
            match headers["accept"].to_str().unwrap() {
                "text/plain" => "Execution   exec_1\n".into_response(),
                _ => r#"{"outcome":"executed"}"#.into_response(),
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new().route("/v1/evidence/timeline/{id}", get(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    #[tokio::test]
    async fn the_story_is_printed_as_text_or_json() {
        let url = served().await;
        let at = ["a/b", "--url", &url, "--key", "permyx_merchant_x"];
        assert_eq!(said(&at).await.unwrap(), "Execution   exec_1\n");
        assert_eq!(said(&[&at[..], &["--json"]].concat()).await.unwrap(), "{\n  \"outcome\": \"executed\"\n}\n");
    }

    #[tokio::test]
    async fn what_is_not_there_is_a_finding() {
        let url = served().await;
        let error = said(&["last", "--url", &url, "--key", "permyx_merchant_x"]).await.unwrap_err();
        assert_eq!(error.report(), "error: refused: NOT_FOUND: there is nothing here");
        assert_eq!(error.exit() as i32, 1);
        assert_eq!(said(&["last", "--url", &url, "--key", "a\nb"]).await.unwrap_err().exit() as i32, 2);
    }
}
