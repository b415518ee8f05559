"use strict";
// The portal of the stand-in. Labels, columns and dialogs are those of the vendor's documentation; the calls below
// /api/ are the stand-in's own.

const LABELS = {
  "2.2": { product: "License Tracking Service", items: "License Items", projects: "Handshake Codes" },
  "2.3.5": { product: "Dynamsoft License Server", items: "Items", projects: "Projects" },
};
const HOME_LINKS = { // seen in the vendor's screen of the 2.2 line
  "#/items": ["Bind licenses to this License Tracking Server", "View current license items"],
  "#/projects": ["View current handshake codes and usage"],
  "#/alert": ["Configure usage alerts"],
  "#/password": ["Manage security"],
};
const COLUMNS = ["", "Item Id", "Item", "Product", "Quantity", "Start Date", "Expiration Date"];
const NOTICES = {
  "import": "License file imported", "new-project": "Project created", "server-url": "Saved",
  "alert-sender": "Saved", "alert-receiver": "Saved", "change-password": "Password changed",
};
let state;
let notice = "";

/** An element with properties and children; a property `on` is the click handler. */
function el(tag, properties = {}, ...children) {
  const { on, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  if (on) element.addEventListener("click", on);
  element.append(...children);
  return element;
}

async function call(name, fields) {
  const answer = await fetch(`../api/${name}`, { method: "POST", body: JSON.stringify(fields) });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.message);
  notice = NOTICES[name] ?? "";
  await refresh();
}

/** Runs an action and shows its refusal beside it. */
function attempt(message, action) {
  return async (event) => {
    event?.preventDefault();
    message.textContent = "";
    try {
      await action();
    } catch (error) {
      message.textContent = error.message;
    }
  };
}

function field(label, name, type = "text", options = {}) {
  const input = el("input", { name, type, required: true, autocomplete: "off", ...options });
  return el("label", {}, el("span", { className: input.required ? "required" : "" }, `${label}:`), input);
}

/** A form that sends all its fields in one call. */
function form(title, fields, button, send) {
  const message = el("p", { className: "message", role: "alert" });
  const element = el("form", { className: "box" }, el("h2", {}, title), ...fields,
    el("button", { type: "submit", className: "primary" }, button), message);
  element.addEventListener("submit", attempt(message, () => send(Object.fromEntries(new FormData(element)))));
  return element;
}

async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = el("textarea", { value: text });
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

function copyButton(text) {
  return el("button", { type: "button", title: "Copy", ariaLabel: "Copy", on: () => copy(text) }, "Copy");
}

function openDialog(title, ...content) {
  const box = document.getElementById("dialog");
  const close = el("button", { type: "button", ariaLabel: "Close", on: closeDialog }, "×");
  box.replaceChildren(el("section", { role: "dialog", ariaLabel: title },
    el("div", { className: "row" }, el("h2", {}, title), close), ...content));
  box.hidden = false;
}

function closeDialog() {
  document.getElementById("dialog").hidden = true;
}

function table(columns, rows) {
  return el("table", {}, el("thead", {}, el("tr", {}, ...columns.map((name) => el("th", {}, name)))),
    el("tbody", {}, ...rows));
}

function row(...cells) {
  return el("tr", {}, ...cells.map((cell) => el("td", {}, ...[cell].flat())));
}

// --- Pages ---

function firstVisit() {
  return form("Set the password of admin", [field("Password", "password", "password"),
    field("Confirm Password", "again", "password")], "OK", async ({ password, again }) => {
    if (password !== again) throw new Error("password: must be the same twice");
    await call("first-visit", { password });
  });
}

function login() {
  return form("Login", [field("User", "user", "text", { value: "admin", readOnly: true }),
    field("Password", "password", "password")], "Login", (fields) => call("login", fields));
}

function home() {
  const links = Object.entries(state.labels === "2.2" ? HOME_LINKS : {}).flatMap(([href, texts]) =>
    texts.map((text) => el("li", {}, el("a", { href }, text))));
  return el("div", {}, el("p", {}, `UUID: ${state.uuid} `, copyButton(state.uuid)), el("ul", {}, ...links),
    el("p", {}, el("button", { on: () => call("logout", {}) }, "Logout")));
}

function items() {
  const file = el("input", { type: "file", hidden: true, name: "license" });
  file.addEventListener("change", async () => {
    const text = await file.files[0].text();
    file.value = ""; // so that the same file can be chosen again
    chooseProject(text);
  });
  const expired = el("input", { type: "checkbox" });
  const body = el("div");
  const fill = () => body.replaceChildren(table(COLUMNS, state.items.filter((item) => expired.checked
    || !(item.expirationDate && item.expirationDate < new Date().toISOString().slice(0, 10))).map(itemRow)));
  expired.addEventListener("change", fill);
  fill();
  return el("div", {},
    el("p", {}, el("span", { className: "required" }, "Import the license file: "),
      el("button", { type: "button", on: () => file.click() }, "Select File"), file),
    el("div", { className: "row" }, el("h2", {}, "Activated Items:"),
      el("span", {}, el("label", {}, expired, " Expired "),
        el("label", {}, el("input", { type: "checkbox" }), " Revoked"))), body);
}

function itemRow(item) {
  const quantity = /^\d+$/.test(item.quantity) ? `0 of ${item.quantity} (0.00 %) devices used` : item.quantity;
  const details = el("a", { href: "#/items" }, "View usage details >");
  return row(el("button", { type: "button" }, "+"), [item.id, el("br"), details], item.item,
    item.product, quantity, item.startDate, item.expirationDate);
}

function importButtons(message, other, fields) {
  return el("div", { className: "row" }, other, el("span", {},
    el("button", { type: "button", on: closeDialog }, "Cancel"),
    el("button", { type: "button", className: "primary", on: attempt(message, async () => {
      await call("import", fields());
      closeDialog();
    }) }, "Import")));
}

function chooseProject(text) {
  const message = el("p", { className: "message", role: "alert" });
  const choices = el("form", {}, table(["", "Project Name", "Project Id"], state.projects.map((project) =>
    row(el("input", { type: "radio", name: "project", value: project.id, ariaLabel: project.name }),
      project.name, project.id))));
  const fields = () => {
    const project = new FormData(choices).get("project");
    if (!project) throw new Error("project: must be chosen");
    return { text, project };
  };
  const other = el("button", { type: "button", className: "primary", on: () => createProject(text) }, "New Project");
  openDialog("Chose a project to insert", choices, message, importButtons(message, other, fields));
}

function createProject(text) {
  const message = el("p", { className: "message", role: "alert" });
  const name = field("Project name", "newProject", "text", { placeholder: "Please enter" });
  const fields = () => ({ text, newProject: name.querySelector("input").value });
  const other = el("button", { type: "button", className: "primary", on: () => chooseProject(text) }, "Select Project");
  openDialog("Create a new project to insert", el("form", {}, name), message, importButtons(message, other, fields));
}

function projects() {
  return el("div", {},
    el("div", { className: "row" }, el("h2", {}, LABELS[state.labels].projects), el("span", {},
      el("button", { className: "primary", on: newProject }, "New a Project"),
      el("button", { on: setServerUrl }, "Set Server URL"))),
    table(["Project", "Key String", "Linked Items"], state.projects.map((project, index) => row(
      [...(index === 0 ? [el("span", { className: "tag" }, "Default"), " "] : []), project.name, el("br"),
        el("button", { on: () => statistics(project) }, "View Statistics")],
      [el("code", {}, project.key), " ", copyButton(project.key)],
      project.items.map((item) => el("div", {}, `${item.id}: ${item.item}`))))));
}

function newProject() {
  const message = el("p", { className: "message", role: "alert" });
  const name = field("Project name", "name", "text", { placeholder: "Please enter" });
  const save = attempt(message, async () => {
    await call("new-project", { name: name.querySelector("input").value });
    closeDialog();
  });
  openDialog("New a Project", el("form", {}, name), message,
    el("button", { type: "button", on: closeDialog }, "Cancel"),
    el("button", { type: "button", className: "primary", on: save }, "OK"));
}

function setServerUrl() {
  const message = el("p", { className: "message", role: "alert" });
  const line = (label, which) => {
    const input = el("input", { type: "text", name: which, value: state.serverUrls[which] ?? "" });
    const save = attempt(message, () => call("server-url", { which, url: input.value.trim() }));
    return el("form", {}, el("label", {}, `${label}:`, el("span", {}, input,
      el("button", { type: "button", className: "primary", on: save }, "Save"))));
  };
  openDialog("Set Server URL", line("Main Server URL", "main"), line("Standby Server URL", "standby"), message);
}

function statistics(project) {
  openDialog(`Handshake: ${project.id}`, table(["Period", "Count"], [row("All history", `${state.usageReports}`)]),
    el("p", {}, "Reports of all projects, as received: a stand-in does not tell them apart."));
}

function usageAlert() {
  const sender = (name) => ({ value: state.alertSender[name] ?? "" });
  const receiver = (name) => ({ value: state.alertReceiver[name] ?? "" });
  const several = (name) => ({ ...receiver(name), required: false, placeholder: "use ; to seperate multiple email addresses" });
  return el("div", {}, el("h1", {}, "Usage Alerts Management"),
    form("", [field("Mail Smtp Host", "host", "text", sender("host")),
      field("Mail Smtp Port", "port", "number", sender("port")),
      field("Mail Smtp SSL Trust", "sslTrust", "text", sender("sslTrust")),
      field("Address", "address", "text", sender("address")),
      field("Password", "password", "password")], "Edit Email Sender", (fields) => call("alert-sender", fields)),
    form("", [field("To Address", "to", "text", receiver("to")), field("CC Address", "cc", "text", several("cc")),
      field("BCC Address", "bcc", "text", several("bcc"))], "Edit Email Receiver",
    (fields) => call("alert-receiver", fields)));
}

function changePassword() {
  return form("Change Password", [field("Old Password", "old", "password"), field("New Password", "new", "password"),
    field("Confirm Password", "again", "password")], "OK", async (fields) => {
    if (fields.new !== fields.again) throw new Error("password: must be the same twice");
    await call("change-password", fields);
  });
}

// --- Menu and routes ---

function routes() {
  const labels = LABELS[state.labels];
  return {
    "#/": ["Home Page", home],
    "#/items": [labels.items, items],
    "#/projects": [labels.projects, projects],
    "#/alert": ["Usage Alert", usageAlert],
    "#/password": ["Change Password", changePassword],
  };
}

function show() {
  const known = routes();
  const route = known[location.hash] ? location.hash : "#/";
  document.getElementById("product").textContent = LABELS[state.labels].product;
  document.getElementById("version").textContent = state.labels === "2.2" ? "" : `v${state.version}`;
  document.getElementById("menu").replaceChildren(...Object.entries(known).map(([hash, [label]]) => {
    const link = el("a", { href: hash }, label);
    if (hash === route) link.setAttribute("aria-current", "page");
    return link;
  }));
  const page = state.loggedIn ? known[route][1] : state.passwordSet ? login : firstVisit;
  document.getElementById("page").replaceChildren(el("p", { role: "status" }, notice), page());
}

async function refresh() {
  state = await (await fetch("../api/state")).json();
  show();
}

addEventListener("submit", (event) => event.preventDefault());
addEventListener("hashchange", () => {
  closeDialog();
  notice = "";
  show();
});
refresh();
