//! The AWS SDK for Rust, and the other end of `driving.Lines`: an act a line, as a JSON array, and an answer a line.

use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::{config, Client};
use serde_json::{json, Value};
use std::error::Error;
use std::io::BufRead;

type Failure = Box<dyn Error>;

#[tokio::main]
async fn main() {
    println!("= {}", json!({ "version": aws_sdk_s3::meta::PKG_VERSION }));
    let bucket = std::env::var("BUCKET").expect("BUCKET");
    let loaded = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
    let s3 = Client::from_conf(config::Builder::from(&loaded).force_path_style(true).build());
    for line in std::io::stdin().lock().lines() {
        let act: Vec<String> = serde_json::from_str(&line.expect("a line")).expect("an act");
        let answer = match play(&s3, &bucket, &act).await {
            Ok(done) => json!({ "done": done }),
            Err(failure) => json!({ "says": DisplayErrorContext(failure.as_ref()).to_string() }),
        };
        println!("= {answer}");
    }
}

async fn play(s3: &Client, bucket: &str, act: &[String]) -> Result<Value, Failure> {
    match act[0].as_str() {
        "up" => {
            let body = ByteStream::from_path(&act[1]).await?;
            s3.put_object().bucket(bucket).key(&act[2]).body(body).send().await?;
        }
        "names" => {
            let listed = s3.list_objects_v2().bucket(bucket).prefix(&act[1]).send().await?;
            return Ok(listed.contents().iter().filter_map(|entry| entry.key()).collect());
        }
        "down" => {
            let got = s3.get_object().bucket(bucket).key(&act[1]).send().await?;
            std::fs::write(&act[2], got.body.collect().await?.into_bytes())?;
        }
        "move" => {
            let source = format!("{bucket}/{}", act[1]).replace(' ', "%20");
            s3.copy_object().bucket(bucket).key(&act[2]).copy_source(source).send().await?;
            s3.delete_object().bucket(bucket).key(&act[1]).send().await?;
        }
        "remove" => {
            s3.delete_object().bucket(bucket).key(&act[1]).send().await?;
        }
        other => return Err(format!("no such act: {other}").into()),
    }
    Ok(Value::Null)
}
