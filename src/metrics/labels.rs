//! The labels that metrics have.

use prometheus_client::encoding::EncodeLabelSet;

macro_rules! label_sets {
    ($($name:ident { $($label:ident: $kind:ty),+ })+) => {$(
        #[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
        pub(super) struct $name { $(pub(super) $label: $kind),+ }
    )+};
}

label_sets! {
    BuildLabels { version: String }
    KindLabels { kind: &'static str }
    AnswerLabels { answer: &'static str }
    ResultLabels { result: &'static str }
    OutcomeLabels { outcome: &'static str }
    ServiceLabels { service: String }
    FiringLabels { service: String, trigger: String }
    PathLabels { service: String, path: String }
    AttemptLabels { service: String, path: String, outcome: &'static str }
    PagerLabels { pager: String }
    TaskLabels { task: &'static str }
    ReceiverLabels { receiver: String }
    ReasonLabels { reason: &'static str }
    DeliveryLabels { pager: String, result: &'static str }
    AnnouncementLabels { announcer: String, result: &'static str }
    KeptLabels { act: &'static str, result: &'static str }
    SourceLabels { source: &'static str, result: &'static str }
    RequestLabels { route: String, method: &'static str, code: u16 }
}
