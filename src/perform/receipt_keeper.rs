//! Brings receipts into git beside their writing: at the start, and after each one.
//!
//! Never keeps a receipt waiting, and never touches a repository in a dry run: that is outside of the receipts folder.

use std::sync::Arc;

use rollbackd_core::config::Mode;
use tokio::sync::mpsc;

use crate::metrics::Metrics;
use crate::outside::InForce;
use crate::receipts::NotKept;

/// Keeps receipts in git.
pub(super) struct ReceiptKeeper {
    edges: InForce,
    metrics: Arc<Metrics>,
}

impl ReceiptKeeper {
    /// Starts it; each word that it gets is a reason to look at the folder again. It ends when nobody is left to give one.
    pub(super) fn start(edges: InForce, metrics: Arc<Metrics>) -> mpsc::Sender<()> {
        // One look brings in all that is new: a second word while one waits says nothing more.
        let (sender, mut words) = mpsc::channel(1);
        let keeper = Self { edges, metrics };
        tokio::spawn(async move {
            keeper.keep().await;
            while words.recv().await.is_some() {
                keeper.keep().await;
            }
        });
        sender
    }

    async fn keep(&self) {
        let edges = self.edges.get();
        if edges.settings().core.mode == Mode::DryRun {
            return;
        }
        let Some(keeping) = edges.keep_receipts() else { return };
        match keeping.await {
            Ok(kept) => {
                self.metrics.receipts_kept("commit", "done");
                if kept.pushed {
                    self.metrics.receipts_kept("push", "done");
                }
                tracing::info!(committed = kept.committed, pushed = kept.pushed, "receipts are kept in git");
            }
            Err(NotKept::NotCommitted(why)) => {
                self.metrics.receipts_kept("commit", "failed");
                tracing::error!(
                    why,
                    "receipts could not be committed; tried again with the next one and at the next start"
                );
            }
            Err(NotKept::NotPushed(why)) => {
                self.metrics.receipts_kept("commit", "done");
                self.metrics.receipts_kept("push", "failed");
                tracing::error!(
                    why,
                    "receipts could not be pushed; tried again with the next one and at the next start"
                );
            }
        }
    }
}
