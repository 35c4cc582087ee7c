//! MCP's methods that a client sends, and what each one acts on.

/// What a request asks to act on: what a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Lifecycle, listing, notifications, answers: open to every authenticated caller.
    Open,
    /// A call of the tool with this name.
    Tool(&'a str),
    /// A use of the prompt with this name.
    Prompt(&'a str),
    /// A use of the resource with this URI.
    Resource(&'a str),
    /// A use of the task with this id; empty where the method names none.
    Task(&'a str),
    /// A method that MCP does not have.
    Unknown,
}

/// Where a method names what it acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Nothing to decide on.
    Open,
    /// A notification, which has no id.
    Notification,
    /// `params.name` is a tool.
    ToolName,
    /// `params.name` is a prompt.
    PromptName,
    /// `params.uri` is a resource.
    ResourceUri,
    /// `params.ref` is a prompt or a resource template.
    Reference,
    /// `params.notifications` lists resources and tasks.
    Subscriptions,
    /// `params.taskId` is a task.
    TaskId,
    /// All tasks.
    TaskList,
}

impl Shape {
    /// Whether a request of this shape is about nothing that rules must allow.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Notification)
    }
}

/// Whether 2026-07-28 has removed `method` ("Changes"); of a modern request it is unknown.
#[must_use]
pub fn is_removed(method: &str) -> bool {
    matches!(
        method,
        "initialize"
            | "ping"
            | "logging/setLevel"
            | "resources/subscribe"
            | "resources/unsubscribe"
            | "tasks/list"
            | "tasks/result"
    )
}

/// The shape of `method`, `None` for one that no revision knows.
#[must_use]
pub fn shape(method: &str) -> Option<Shape> {
    Some(match method {
        "tools/call" => Shape::ToolName,
        "prompts/get" => Shape::PromptName,
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => Shape::ResourceUri,
        "completion/complete" => Shape::Reference,
        "subscriptions/listen" => Shape::Subscriptions,
        "tasks/get" | "tasks/result" | "tasks/cancel" | "tasks/update" => Shape::TaskId,
        "tasks/list" => Shape::TaskList,
        "initialize"
        | "ping"
        | "server/discover"
        | "logging/setLevel"
        | "tools/list"
        | "prompts/list"
        | "resources/list"
        | "resources/templates/list" => Shape::Open,
        "notifications/initialized"
        | "notifications/cancelled"
        | "notifications/progress"
        | "notifications/roots/list_changed"
        | "notifications/tasks/status" => Shape::Notification,
        _ => return None,
    })
}
