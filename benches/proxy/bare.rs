//! The reference: a reverse proxy that does nothing but pass calls on.

use std::net::SocketAddr;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

/// Serves until killed. The address goes to standard output.
#[expect(clippy::print_stdout, reason = "this is how the parent learns the address")]
pub(crate) async fn serve(provider: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build_http();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let client = client.clone();
        tokio::spawn(async move {
            let service = service_fn(|mut request: Request<Incoming>| {
                let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
                let address = format!("http://{provider}{path}").parse::<Uri>();
                let client = client.clone();
                async move {
                    *request.uri_mut() = address?;
                    Ok::<_, anyhow::Error>(client.request(request).await?)
                }
            });
            // A client that has gone ends its connection.
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}
