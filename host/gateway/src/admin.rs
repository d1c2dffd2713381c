//! placeholder
use std::sync::Arc;
use portcullis_engine::Engine;
use portcullis_proxy::Proxy;
use portcullis_store::Store;
use portcullis_verdict::Stats;
use crate::config::Loaded;
use crate::serve::Reloader;
pub(crate) struct Bound;
impl Bound { pub(crate) fn replace(&self, _: &Loaded) {} }
pub(crate) async fn bind(_: &Loaded, _: &Arc<Engine>, _: &Arc<Proxy>, _: &Arc<Store>, _: &Arc<Stats>) -> anyhow::Result<Option<Bound>> { Ok(None) }
pub(crate) async fn serve(_: Arc<Reloader>, _: tokio::sync::watch::Receiver<bool>) {}
