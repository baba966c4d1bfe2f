//! sqlx.

use futures_util::TryStreamExt;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgSslMode};
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, Row};

use super::{Answer, part};

type Failure = Box<dyn std::error::Error>;

fn options(request: &Value) -> Result<PgConnectOptions, Failure> {
    if request["url"].is_string() {
        return Ok(part(request, "url").parse()?);
    }
    if request["host"].is_null() {
        return Ok(PgConnectOptions::new());
    }
    let mut options = match part(request, "options") {
        // What is no setting can be given in a URL only.
        "endpoint=feat" => "postgresql://localhost?options=endpoint%3Dfeat".parse()?,
        _ => PgConnectOptions::new(),
    };
    options = options.host(part(request, "host")).port(request["port"].as_u64().ok_or("no port")? as u16);
    options = options.username(part(request, "user")).database(part(request, "database"));
    if request["socket_file"].is_string() {
        options = options.socket(part(request, "host"));
    }
    if request["password"].is_string() {
        options = options.password(part(request, "password"));
    }
    if let Some((name, value)) = part(request, "options").strip_prefix("-c ").and_then(|text| text.split_once('=')) {
        options = options.options([(name, value)]);
    }
    if request["root_certificate"].is_string() {
        options = options.ssl_mode(PgSslMode::VerifyFull).ssl_root_cert(part(request, "root_certificate"));
    } else {
        options = options.ssl_mode(PgSslMode::Disable);
    }
    Ok(options)
}

async fn one(connection: &mut PgConnection, sql: &str) -> Result<Option<String>, sqlx::Error> {
    let row = connection.fetch_optional(sql).await?;
    row.map(|row| row.try_get_unchecked(0)).transpose()
}

fn told(error: &sqlx::Error) -> Value {
    let Some(error) = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>()) else {
        return json!({ "message": error.to_string() });
    };
    json!({ "sqlstate": error.code(), "message": error.message(), "detail": error.detail(), "hint": error.hint() })
}

pub(super) async fn answer(request: &Value) -> Answer {
    let options = options(request)?;
    if part(request, "do") == "refused" {
        return Ok(told(&options.connect().await.err().ok_or("was let in")?));
    }
    let mut connection = options.connect().await?;
    let answer = match part(request, "do") {
        "ask" => json!({ "answer": one(&mut connection, part(request, "sql")).await? }),
        "copy" => copy(request, &mut connection).await?,
        "large" => large(request, &mut connection).await?,
        _ => {
            let mut answer = told(&one(&mut connection, part(request, "sql")).await.err().ok_or("no error came")?);
            answer["after"] = json!(one(&mut connection, "select 1").await?);
            answer
        }
    };
    connection.close().await?;
    Ok(answer)
}

async fn copy(request: &Value, connection: &mut PgConnection) -> Answer {
    one(connection, part(request, "create")).await?;
    let mut sink = connection.copy_in_raw(part(request, "copy_in")).await?;
    sink.send(part(request, "rows").as_bytes()).await?;
    sink.finish().await?;
    let chunks: Vec<_> = connection.copy_out_raw(part(request, "copy_out")).await?.try_collect().await?;
    let same = chunks.concat() == part(request, "rows").as_bytes();
    Ok(json!({ "sum": one(connection, part(request, "sum")).await?, "same": same }))
}

async fn large(request: &Value, connection: &mut PgConnection) -> Answer {
    let (mut rows, mut bytes) = (0, 0);
    let mut stream = sqlx::query(part(request, "sql")).fetch(connection);
    while let Some(row) = stream.try_next().await? {
        rows += 1;
        bytes += row.try_get::<&str, _>(0)?.len();
    }
    Ok(json!({ "rows": rows, "bytes": bytes }))
}
