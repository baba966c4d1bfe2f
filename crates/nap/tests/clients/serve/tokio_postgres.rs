//! tokio-postgres, with rustls.

use futures_util::{SinkExt, StreamExt, TryStreamExt, pin_mut};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::config::{ChannelBinding, SslMode};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{CancelToken, Client, Config, NoTls, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Answer, part};

type Failure = Box<dyn std::error::Error>;

fn config(request: &Value) -> Result<Config, Failure> {
    for string in ["url", "keywords"] {
        if request[string].is_string() {
            return Ok(part(request, string).parse()?);
        }
    }
    let mut config = Config::new();
    config.host(part(request, "host")).port(request["port"].as_u64().ok_or("no port")? as u16);
    config.user(part(request, "user")).dbname(part(request, "database"));
    if request["password"].is_string() {
        config.password(part(request, "password"));
    }
    if request["options"].is_string() {
        config.options(part(request, "options"));
    }
    if request["address"].is_string() {
        config.hostaddr(part(request, "address").parse()?);
    }
    if request["root_certificate"].is_string() {
        config.ssl_mode(SslMode::Require);
    }
    if request["channel_binding"].is_string() {
        config.channel_binding(ChannelBinding::Require);
    }
    Ok(config)
}

fn tls(certificate: &str) -> Result<MakeRustlsConnect, Failure> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate)?)?;
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

async fn connect(request: &Value) -> Result<Client, Failure> {
    let config = config(request)?;
    if request["root_certificate"].is_string() {
        let (client, connection) = config.connect(tls(part(request, "root_certificate"))?).await?;
        tokio::spawn(connection);
        Ok(client)
    } else {
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

async fn one(client: &Client, sql: &str) -> Result<Option<String>, tokio_postgres::Error> {
    let messages = client.simple_query(sql).await?;
    Ok(messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}

fn told(error: &tokio_postgres::Error) -> Value {
    let Some(error) = error.as_db_error() else { return json!({ "message": error.to_string() }) };
    json!({ "sqlstate": error.code().code(), "message": error.message(), "detail": error.detail(),
            "hint": error.hint() })
}

pub(super) async fn answer(request: &Value) -> Answer {
    if part(request, "do") == "refused" {
        let refused = connect(request).await.err().ok_or("was let in")?;
        return Ok(told(refused.downcast_ref().ok_or("an error of another kind")?));
    }
    let client = connect(request).await?;
    match part(request, "do") {
        "ask" => Ok(json!({ "answer": one(&client, part(request, "sql")).await? })),
        "cancel" => cancel(request, &client).await,
        "copy" => copy(request, &client).await,
        "pipeline" => pipeline(request, &client).await,
        "large" => large(request, &client).await,
        _ => {
            let mut answer = told(&one(&client, part(request, "sql")).await.err().ok_or("no error came")?);
            answer["after"] = json!(one(&client, "select 1").await?);
            Ok(answer)
        }
    }
}

async fn cancel(request: &Value, client: &Client) -> Answer {
    let watcher = connect(request).await?;
    let token = client.cancel_token();
    let cancel = async {
        while one(&watcher, part(request, "watch")).await?.as_deref() != Some("1") {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        send_cancel(&token, request).await
    };
    let (ended, sent) = tokio::join!(one(client, part(request, "sql")), cancel);
    sent?;
    let error = ended.err().ok_or("it was not cancelled")?;
    Ok(json!({ "sqlstate": told(&error)["sqlstate"], "after": one(client, "select 1").await? }))
}

/// Returns when the server has closed the connection that asked, which `cancel_query` does not wait for: until then a
/// signal may be on its way that would hit what comes next.
async fn send_cancel(token: &CancelToken, request: &Value) -> Result<(), Failure> {
    let (host, port) = (part(request, "host"), request["port"].as_u64().ok_or("no port")? as u16);
    if host.starts_with('/') {
        let stream = std::os::unix::net::UnixStream::connect(format!("{host}/.s.PGSQL.{port}"))?;
        stream.set_nonblocking(true)?;
        let same = UnixStream::from_std(stream.try_clone()?)?;
        token.cancel_query_raw(UnixStream::from_std(stream)?, NoTls).await?;
        until_closed(same).await;
        return Ok(());
    }
    let stream = std::net::TcpStream::connect((host, port))?;
    stream.set_nonblocking(true)?;
    let same = TcpStream::from_std(stream.try_clone()?)?;
    let stream = TcpStream::from_std(stream)?;
    match part(request, "root_certificate") {
        "" => token.cancel_query_raw(stream, NoTls).await?,
        certificate => {
            let tls = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut tls(certificate)?, host)?;
            token.cancel_query_raw(stream, tls).await?;
        }
    }
    until_closed(same).await;
    Ok(())
}

/// In whatever way: over TLS it may be a reset, as nobody reads our farewell.
async fn until_closed(mut stream: impl AsyncRead + Unpin) {
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

async fn copy(request: &Value, client: &Client) -> Answer {
    one(client, part(request, "create")).await?;
    let sink = client.copy_in(part(request, "copy_in")).await?;
    pin_mut!(sink);
    sink.send(std::io::Cursor::new(part(request, "rows").as_bytes().to_vec())).await?;
    sink.finish().await?;
    let stream = client.copy_out(part(request, "copy_out")).await?;
    let chunks: Vec<_> = stream.try_collect().await?;
    let same = chunks.concat() == part(request, "rows").as_bytes();
    Ok(json!({ "sum": one(client, part(request, "sum")).await?, "same": same }))
}

async fn pipeline(request: &Value, client: &Client) -> Answer {
    let statement = client.prepare("select $1::int").await?;
    let numbers: Vec<i32> = (0..request["count"].as_i64().ok_or("no count")? as i32).collect();
    let asked = numbers.iter().map(async |number| client.query_one(&statement, &[number]).await);
    let rows = futures_util::future::try_join_all(asked).await?;
    Ok(json!({ "sum": rows.iter().map(|row| row.get::<_, i32>(0)).sum::<i32>() }))
}

async fn large(request: &Value, client: &Client) -> Answer {
    let none: [&str; 0] = [];
    let stream = client.query_raw(part(request, "sql"), none).await?;
    pin_mut!(stream);
    let (mut rows, mut bytes) = (0, 0);
    while let Some(row) = stream.next().await {
        rows += 1;
        bytes += row?.get::<_, &str>(0).len();
    }
    Ok(json!({ "rows": rows, "bytes": bytes }))
}
