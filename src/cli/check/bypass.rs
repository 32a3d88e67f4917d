//! `permyx check bypass`: whether the merchant can be reached without passing the gateway, tried from here.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::super::error::CliError;
use super::connect::{Unreached, connects};

#[derive(Debug, Args)]
#[command(after_help = "Example, from a pod that is not the gateway's:\n  \
                        permyx check bypass --to http://shop.internal:8080/checkout\n\n\
                        Exit code 0: no connection can be opened from here. 1: one can, so whoever is here passes \
                        the gateway by. 3: nothing is known, as where the name does not resolve.\n\
                        It proves nothing of other places: run it wherever an agent could be.")]
pub struct BypassArgs {
    /// The merchant's own address, as in `http://shop.internal:8080/checkout`
    #[arg(long, value_name = "URL")]
    to: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub async fn run(args: &BypassArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let tried = connects(&args.to).await;
    if args.json {
        let (reached, why) = match &tried {
            Ok(_) => (Some(true), None),
            Err(why @ (Unreached::Refused(_) | Unreached::Silent)) => (Some(false), Some(why.to_string())),
            Err(why) => (None, Some(why.to_string())),
        };
        writeln!(out, "{}", json!({ "to": args.to, "reached": reached, "why": why }))?;
    }
    match tried {
        Ok(_) => Err(CliError::Bypassed(args.to.clone())),
        Err(why @ (Unreached::Refused(_) | Unreached::Silent)) if !args.json => {
            Ok(writeln!(out, "`{}` {why}: from here the gateway cannot be passed by", args.to)?)
        }
        Err(Unreached::Refused(_) | Unreached::Silent) => Ok(()),
        Err(why) => Err(CliError::NotTried { to: args.to.clone(), why: why.to_string() }),
    }
}
