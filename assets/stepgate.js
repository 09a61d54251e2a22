// The script of Stepgate's pages. It does what only a browser can do: ask for a passkey. Everything it knows comes from
// the data-* attributes of <main>; everything it says goes into the page as text, never as markup.
//
// Two rules shape it:
//  - A browser may demand that a prompt follows directly from a press of a button (Safari takes an awaited fetch in
//    between for no press at all). So options are fetched before the press, and between the press and
//    navigator.credentials nothing is awaited.
//  - A page that prompts by itself must never be able to loop. It does so at most once per demand and tab, and never
//    just after a confirmation.

const main = document.querySelector("main[data-page]");
const page = main.dataset;
const $ = (selector, within = main) => within.querySelector(selector);
const $$ = (selector, within = main) => [...within.querySelectorAll(selector)];

// ---------------------------------------------------------------------------------------------------------- words

// What went wrong, for people: a title, what to do, and which button helps besides trying again. The codes of the
// first group are this script's own, the others are the gateway's.
const words = {
  not_allowed: ["Nothing was confirmed", "The passkey prompt was closed, timed out, or found no passkey that fits. If yours is on a phone or a security key, choose that in the prompt."],
  cancelled: ["Cancelled", "Nothing was changed. You can try again whenever you like."],
  timeout: ["That took too long", "No passkey answered in time. Check that your device or security key is at hand, then try again."],
  already_registered: ["This device already has a passkey for you", "Choose another device or a security key, or use the passkey that is there."],
  prompt_busy: ["Another prompt is open", "Your browser is already asking for a passkey, perhaps in another tab. Close that prompt, then try again."],
  prompt_failed: ["The browser could not ask for a passkey", "Try again. If it keeps failing, restart the browser or try another one."],
  blocked: ["Passkeys don’t work at this address", "The browser does not allow this address to use the passkeys of this console. Open the console by its usual address, or tell its administrators."],
  not_supported: ["This device can’t do that", "It has no kind of passkey that is accepted here. Try another device or a security key."],
  unsupported: ["This browser can’t use passkeys", "Open this page in a current version of Chrome, Edge, Firefox or Safari. A browser inside another app often can’t."],
  insecure: ["This connection is not secure", "Browsers use passkeys over https only. Open the console by its https address."],
  network: ["The gateway can’t be reached", "Your connection may be down. Check it, then try again."],
  unavailable: ["The gateway is busy or being restarted", "Nothing was changed. Wait a moment, then try again."],
  signed_out: ["Your sign-in ended", "Reload the page to sign in again; then go on from here.", "reload"],
  authorization_expired: ["Too much time has passed", "Confirm with a passkey you have once more, then create the new one.", "reload"],
  code_once_more: ["Too much time has passed", "Your code is still good. Reload the page, enter it once more, then create the passkey.", "reload"],
  codes_in_doubt: ["Your recovery codes may have changed", "The answer did not arrive, so the codes that you have may no longer work. Make new ones once more."],
  codes_lost: ["Your passkey has been created, but its recovery codes did not arrive", "You can make new ones on your passkeys page, also later.", "account"],
  cookies_off: ["Cookies are turned off", "Without cookies your browser can’t keep the proof that you confirmed. Allow them for this site, then reload the page.", "reload"],

  challenge_expired: ["That took too long", "The request ran out before the answer arrived. Try again."],
  challenge_used: ["This attempt has already been used", "Each attempt counts once, so that nobody can repeat it. Try again to start a new one."],
  ceremony_mismatch: ["That answer belongs to something else", "Perhaps two tabs were open. Try again here."],
  browser_mismatch: ["Your browser did not send its cookie back", "Allow cookies for this site, then try again."],
  session_mismatch: ["You have signed in again meanwhile", "Reload the page and start once more.", "reload"],
  origin_mismatch: ["This is not the address where you started", "Open the console by its usual address.", "reload"],
  user_presence_missing: ["Your touch was not recorded", "Touch the security key or answer the prompt, then try again."],
  user_verification_missing: ["Your fingerprint, face or PIN was not checked", "Try again and unlock the passkey when asked. If your password manager never asks, turn that on in its settings or use another passkey."],
  signature_invalid: ["The passkey’s answer could not be checked", "Try again. If it keeps failing, use another passkey and tell the administrators."],
  counter_regressed: ["This passkey can’t be used now", "It answered out of turn, which can mean that a copy of it exists. Use another passkey, and tell the administrators."],
  passkey_unknown: ["That passkey is not registered for you", "Choose another one in the prompt."],
  no_passkey: ["You have no passkey here", "Reload the page to see what you can do.", "reload"],
  level_unreachable: ["None of your passkeys is strong enough", "Opening this needs another kind. You can add one below."],
  rate_limited: ["Too many attempts", "Please wait a little, then try again."],
  store_unavailable: ["The gateway can’t look up passkeys right now", "Nothing was changed. Wait a moment, then try again."],
  audit_unavailable: ["The gateway can’t go on right now", "Wait a moment, then try again. If it stays, tell the administrators."],
  demand_invalid: ["This link is no longer valid", "Open the page that you wanted once more.", "restart"],
  user_missing: ["Your sign-in ended", "Reload the page to sign in again; then go on from here.", "reload"],
  session_missing: ["Your sign-in ended", "Reload the page to sign in again; then go on from here.", "reload"],

  registration_closed: ["A passkey can’t be added like this", "Somebody has registered a passkey for you before. Reload the page to use it, or ask the administrators.", "reload"],
  invitation_invalid: ["This invitation is not valid", "It was used already, replaced by another one, or made for somebody else. Check it, or ask the administrators for a new one."],
  invitation_expired: ["This invitation is too old", "Ask the administrators for a new one."],
  recovery_code_invalid: ["This recovery code is not valid", "It was used already, replaced by new ones, or made for somebody else. Check it, try another one, or ask the administrators for an invitation."],
  recovery_off: ["Recovery codes are not used here", "The administrators have switched them off. Ask them for an invitation.", "reload"],
  invitation_needed: ["The first passkey needs an invitation", "Ask the administrators for one.", "reload"],
  sign_in_time_missing: ["Sign in again first", "A first passkey has to be set up soon after signing in, and the sign-in did not say when that was. Sign in again, then come back to this page. If it stays, tell the administrators.", "reload"],
  sign_in_too_old: ["Sign in again first", "A first passkey has to be set up soon after signing in. Sign in again, then come back to this page.", "reload"],
  authorization_needed: ["Confirm first", "This needs a confirmation with a passkey you have. Confirm, or reload the page and start once more.", "reload"],
  attestation_invalid: ["This kind of passkey is not accepted", "Try another device or a security key."],
  algorithm_refused: ["This kind of passkey is not accepted", "Try another device or a security key."],
  key_unusable: ["This kind of passkey is not accepted", "Try another device or a security key."],
  passkey_exists: ["This passkey is already registered", "Choose another device or a security key."],
  too_many_passkeys: ["You have as many passkeys as you may have", "Remove one you no longer use, then add another.", "account"],
  name_taken: ["You already have a passkey with that name", "Choose another name."],
  name_invalid: ["That name can’t be used", "Use 1 to 64 visible characters."],
  last_passkey: ["This is your only passkey", "Your others were removed meanwhile, or one has to stay. Reload the page to see which, or add another one first.", "reload"],
  conflict: ["Your passkeys were changed in another tab", "Reload the page, then try again.", "reload"],
};

// A Failure is anything that went wrong, under a code.
class Failure extends Error {
  constructor(code, about = {}) {
    super(code);
    Object.assign(this, { code }, about); // title, detail, retryAfter (s), fromGateway
  }
}

function explain(failure) {
  let [title, text, next] = words[failure.code] ??
    [failure.title || "That did not work", failure.detail || "Try again. If it keeps failing, tell the administrators the code below."];
  if (failure.code === "rate_limited" && failure.retryAfter > 1) {
    text = `Please wait ${failure.retryAfter} seconds, then try again.`;
  }
  return { title, text, next };
}

// ------------------------------------------------------------------------------------------------- what people see

const alertBox = $("#alert");
const statusBox = $("#status");

function element(name, text, attributes = {}) {
  const made = Object.assign(document.createElement(name), attributes);
  made.textContent = text;
  return made;
}

function clear(box = alertBox) {
  box.hidden = true;
  box.replaceChildren();
  statusBox.replaceChildren();
}

// warn shows a failure and moves the focus to it, unless nobody asked for anything (focus: false).
function warn(failure, { box = alertBox, focus = true } = {}) {
  const { title, text, next } = explain(failure);
  clear(box);
  box.append(element("h2", title), element("p", text));
  const actions = {
    reload: () => element("button", "Reload the page", { type: "button", className: "second", onclick: () => location.reload() }),
    restart: () => element("a", "Open it again", { className: "button second", href: onThisOrigin(page.returnTo) }),
    account: () => element("a", "Manage your passkeys", { className: "button second", href: `${page.prefix}/passkeys` }),
  };
  if (next) box.append(actions[next]());
  if (failure.fromGateway) box.append(element("p", `Code for support: ${failure.code}`, { className: "small" }));
  box.hidden = false;
  page.state = "failed";
  page.failure = failure.code;
  if (focus) box.focus();
}

function say(text, ...more) {
  statusBox.replaceChildren(element("span", text), ...more);
}

// complain puts an error beside the field it is about.
function complain(input, text) {
  const note = document.getElementById(`${input.id}-error`) ?? element("p", "", { className: "field-error", id: `${input.id}-error` });
  note.textContent = text;
  input.after(note);
  input.setAttribute("aria-invalid", "true");
  input.setAttribute("aria-describedby", note.id);
  input.addEventListener("input", () => {
    note.remove();
    input.removeAttribute("aria-invalid");
    input.removeAttribute("aria-describedby");
  }, { once: true });
  input.focus();
}

// complainAbout does so for the refusals that are about a name, and says whether this was one.
function complainAbout(input, failure) {
  if (failure.code !== "name_taken" && failure.code !== "name_invalid") return false;
  const { title, text } = explain(failure);
  complain(input, `${title}. ${text}`);
  page.state = "failed";
  page.failure = failure.code;
  return true;
}

// ---------------------------------------------------------------------------------------------- the gateway's API

async function api(method, path, body) {
  const hung = new AbortController();
  const timer = setTimeout(() => hung.abort(), 20_000);
  let response, json;
  try {
    const headers = { Accept: "application/json" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    // In full: where the address holds a name and password, browsers refuse to fetch anything relative to it.
    response = await fetch(location.origin + page.prefix + path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin", redirect: "manual", cache: "no-store", signal: hung.signal,
    });
    if (response.status === 204) return null;
    if (/^application\/([\w.-]+\+)?json\b/.test(response.headers.get("Content-Type") ?? "")) {
      json = await response.json().catch(() => undefined);
    }
  } catch {
    throw new Failure("network");
  } finally {
    clearTimeout(timer);
  }
  // The gateway never redirects its API and always answers JSON. Anything else comes from the sign-in in front of it
  // (a redirect to its login page, or that page itself), or from a balancer that finds nobody behind it.
  if (json === null || typeof json !== "object") throw new Failure(response.status >= 500 ? "unavailable" : "signed_out");
  if (response.ok) return json;
  if (typeof json.code !== "string") throw new Failure(response.status === 401 ? "signed_out" : "unavailable");
  throw new Failure(json.code, {
    fromGateway: true, title: json.title, detail: json.detail,
    retryAfter: Number(response.headers.get("Retry-After")) || 0,
  });
}

// ------------------------------------------------------------------------------------------------------- encoding

function toBytes(base64url) {
  const text = atob(base64url.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}

function toBase64url(buffer) {
  const text = Array.from(new Uint8Array(buffer), (b) => String.fromCharCode(b)).join("");
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

// decode turns the options' JSON into what navigator.credentials takes. Browsers before 2024 and 2025 can't do that
// themselves. A null counts as absent: Safari refuses "authenticatorAttachment": null.
function decode(kind, json) {
  const options = JSON.parse(JSON.stringify(json), (_, value) => value ?? undefined);
  const parser = kind === "create" ? "parseCreationOptionsFromJSON" : "parseRequestOptionsFromJSON";
  try {
    if (PublicKeyCredential[parser]) return PublicKeyCredential[parser](options);
  } catch {
    // an extension the browser can't parse; by hand, then
  }
  const withBytes = (list) => list?.map((entry) => ({ ...entry, id: toBytes(entry.id) }));
  const decoded = { ...options, challenge: toBytes(options.challenge) };
  if (options.user) decoded.user = { ...options.user, id: toBytes(options.user.id) };
  if (options.excludeCredentials) decoded.excludeCredentials = withBytes(options.excludeCredentials);
  if (options.allowCredentials) decoded.allowCredentials = withBytes(options.allowCredentials);
  return decoded;
}

// encode is credential.toJSON(), also where that is missing, throws, or gives something else (as some password
// managers' own credentials do).
function encode(credential) {
  try {
    const json = credential.toJSON();
    if (typeof json.rawId === "string" && typeof json.response.clientDataJSON === "string") {
      if (json.authenticatorAttachment === null) delete json.authenticatorAttachment;
      return json;
    }
  } catch {
    // by hand, then
  }
  const response = {};
  for (const part of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (credential.response[part]) response[part] = toBase64url(credential.response[part]);
  }
  if (response.attestationObject) response.transports = credential.response.getTransports?.() ?? [];
  const id = toBase64url(credential.rawId);
  const json = { id, rawId: id, type: "public-key", response, clientExtensionResults: credential.getClientExtensionResults?.() ?? {} };
  if (credential.authenticatorAttachment) json.authenticatorAttachment = credential.authenticatorAttachment;
  return json;
}

// shortID is how the gateway names a passkey where its credential id would be too long.
async function shortID(credentialID) {
  return toBase64url((await crypto.subtle.digest("SHA-256", toBytes(credentialID))).slice(0, 16));
}

// ----------------------------------------------------------------------------------------------------- ceremonies

// Prepared keeps options at hand, so that a press can use them at once. A challenge works once and not for long:
// options are replaced when half of their life is over, as long as somebody looks at the page, so that a prompt always
// has minutes left (WCAG 2.2.1). A page left open, or in the background, stops asking for new ones: the gateway counts
// how many ceremonies a person starts.
class Prepared {
  constructor(kind, load, { renewable = true } = {}) {
    Object.assign(this, { kind, load, renewable, ready: null, pending: null, idle: 0 });
    Prepared.all.add(this);
  }

  static all = new Set();

  start() {
    const asked = Date.now(); // before the request: the gateway's own clock for this challenge starts later
    this.pending ??= this.load().then(({ publicKey }) => {
      if (typeof publicKey?.challenge !== "string") throw new Failure("unavailable");
      const life = Math.min(publicKey.timeout || Infinity, Number(page.timeout));
      this.ready = { publicKey: decode(this.kind, publicKey), json: publicKey, life, until: asked + life };
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.renew(), life * 0.5);
    }).finally(() => { this.pending = null; });
    return this.pending;
  }

  fresh() { return this.ready && this.ready.until - Date.now() > this.ready.life * 0.4; }

  renew() {
    if (!this.renewable || !this.ready || current || left || keeping) return;
    if (document.hidden || ++this.idle > 12) this.ready = null;
    else this.start().catch(() => {}); // the next press says what is wrong
  }

  wake() { if (this.renewable && !keeping && this.started && !this.fresh() && !current && !left) this.start().catch(() => {}); }

  // take hands the options out for one use.
  take() {
    const ready = this.fresh() ? this.ready : null;
    this.ready = null;
    this.idle = 0;
    return ready;
  }

  async next() {
    await this.start();
    return this.take() ?? Promise.reject(new Failure("timeout"));
  }

  retire() {
    clearTimeout(this.timer);
    Prepared.all.delete(this);
  }
}

let current = null; // AbortController of the ceremony under way
let left = false; // we are on our way to another page

function translate(error, kind) {
  if (error instanceof Failure) return error;
  const codes = {
    NotAllowedError: "not_allowed", AbortError: "cancelled", TimeoutError: "timeout", SecurityError: "blocked",
    NotSupportedError: "not_supported", ConstraintError: "not_supported", OperationError: "prompt_busy",
    InvalidStateError: kind === "create" ? "already_registered" : "prompt_busy",
  };
  return new Failure(codes[error?.name] ?? "prompt_failed");
}

// ask calls the browser. Up to that call it must stay synchronous. Some password managers replace
// navigator.credentials and leave the original under another name; theirs has broken more than it helped.
async function ask(kind, ready, controller) {
  const native = kind === "create" ? window.__nativeCredentialsCreate : window.__nativeCredentialsGet;
  const call = typeof native === "function" ? native : navigator.credentials[kind];
  // A browser may never answer, and a request that has outlived its challenge is of no use.
  const timer = setTimeout(() => controller.abort(new Failure("timeout")), ready.until - Date.now());
  try {
    const credential = await call.call(navigator.credentials, { publicKey: ready.publicKey, signal: controller.signal });
    if (!credential) throw new Failure("not_allowed");
    return encode(credential);
  } catch (error) {
    throw controller.signal.aborted ? controller.signal.reason : translate(error, kind);
  } finally {
    clearTimeout(timer);
  }
}

// ceremony runs one attempt: ask for the passkey, then finish(credential, json of the options). It never throws; what
// goes wrong is shown, in box, after `failed` had a chance to deal with it (it then returns true). `again` holds a
// credential whose answer did not get through: it is sent once more, without asking.
function ceremony(button, prepared, finish, { auto = false, box = alertBox, failed = () => false, again = null } = {}) {
  if (current || left) return Promise.resolve();
  const controller = current = new AbortController();
  const stopped = new Promise((_, reject) => {
    controller.signal.addEventListener("abort", () => reject(controller.signal.reason));
  });
  let ready = again ?? prepared.take();
  const asked = again ? Promise.resolve(again.credential)
    : ready ? ask(prepared.kind, ready, controller)
    : prepared.next().then((late) => ask(prepared.kind, ready = late, controller));

  clear(box);
  const stop = waiting(button, controller);
  return (async () => {
    let sent = false, answered = null;
    try {
      const credential = await Promise.race([asked, stopped]);
      sent = true;
      stop.hidden = true; // the answer is on its way
      button.textContent = "Checking…";
      answered = credential;
      await finish(credential, ready.json);
    } catch (error) {
      const failure = translate(error, prepared.kind);
      if (answered) stale(failure, answered, ready.json);
      if (!sent && ready && !prepared.renewable && failure.code !== "timeout") prepared.ready = ready; // not used up
      if (auto && ["not_allowed", "cancelled"].includes(failure.code)) {
        // Nobody asked for this prompt, so nobody needs to hear that it was not answered.
        page.state = "ready";
        say("Press the button when you are ready.");
      } else if (!failed(failure)) {
        if (!explain(failure).next) button.dataset.label = "Try again";
        warn(failure, { box });
      }
      if (prepared.renewable && failure.code !== "rate_limited") prepared.start().catch(() => {});
    } finally {
      current = null;
      rested(button, stop);
    }
  })();
}

function waiting(button, controller) {
  page.state = "waiting";
  button.dataset.label ??= button.textContent;
  button.textContent = "Waiting for your passkey…";
  button.setAttribute("aria-disabled", "true");
  const stop = element("button", "Cancel", { type: "button", className: "quiet" });
  stop.onclick = () => controller.abort(new Failure("cancelled"));
  button.after(stop);
  return stop;
}

function rested(button, stop) {
  if (left) return stop.remove();
  if (page.state === "waiting") page.state = "ready";
  if (document.activeElement === stop) button.focus();
  stop.remove();
  button.textContent = button.dataset.label;
  button.removeAttribute("aria-disabled");
}

// register sends a new passkey. If an earlier try arrived and only its answer was lost, the challenge counts as used
// though the passkey is there: look, before a second one is created.
async function register(credential, name, suggested) {
  try {
    return await api("POST", "/passkeys", { credential, name, suggested });
  } catch (failure) {
    if (failure.code !== "challenge_used") throw failure;
    const id = await shortID(credential.id);
    const { passkeys, recovery_codes: codes } = await api("GET", "/passkeys");
    const known = passkeys.find((passkey) => passkey.id === id);
    if (!known) throw failure;
    // The codes that came with a first one went with that answer: all eight are there, which nobody has seen. (After a recovery
    // code there are fewer.)
    return { ...known, codesLost: passkeys.length === 1 && codes?.left === 8 };
  }
}

// Refusals after which the same answer may still be taken. After any other one of the gateway's, a passkey that was just
// created is certainly not registered and never will be: the next press must create another.
const mayStillCount = [
  "store_unavailable", "internal", "too_early", "body_timeout", "user_missing", "session_missing",
  "audit_unavailable", "name_invalid", "origin_unknown", "origin_insecure", "cross_site",
];

// discard tells the authenticator that a passkey is of no use here, so that it stops offering it. That is final, so the gateway
// is asked first, whatever a refusal seemed to say: a lost answer may have registered it, and "unknown" may be another one.
async function discard(rpId, credentialId) {
  if (!PublicKeyCredential.signalUnknownCredential) return;
  try {
    const [id, { passkeys }] = [await shortID(credentialId), await api("GET", "/passkeys")];
    if (!passkeys.some((passkey) => passkey.id === id)) await PublicKeyCredential.signalUnknownCredential({ rpId, credentialId });
  } catch {
    // who does not know keeps it
  }
}

// stale discards a passkey that the gateway does not know, if the gateway itself offered it a moment ago: then it was this
// person's, and was removed meanwhile. Any other one may be the good passkey of somebody else who shares the device.
function stale(failure, credential, json) {
  if (failure.code === "passkey_unknown" && json.allowCredentials?.some(({ id }) => id === credential.id)) {
    discard(json.rpId, credential.id);
  }
}

// creating is held while a passkey may exist that the gateway does not know yet: in any tab, telling password managers which
// ones it knows would have them drop the new one.
const creating = {
  begin() {
    if (this.end) return;
    const done = new Promise((resolve) => { this.end = resolve; });
    navigator.locks?.request("stepgate.creating", { mode: "shared" }, () => done).catch(() => {});
  },
  stop() {
    this.end?.();
    this.end = null;
  },
};

// tell has password managers drop what is of no use here any more, and show the right user (WebAuthn L3 §5.1.10). It is
// about this person's passkeys only, as the gateway knows them at this moment.
function tell() {
  if (!navigator.locks) return creating.end ? undefined : tellNow();
  return navigator.locks.request("stepgate.creating", { ifAvailable: true }, (lock) => lock && tellNow()).catch(() => {});
}

async function tellNow() {
  const all = PublicKeyCredential.signalAllAcceptedCredentials, details = PublicKeyCredential.signalCurrentUserDetails;
  if (!all && !details) return;
  try {
    const { signal } = await api("GET", "/passkeys");
    if (!signal) return;
    const { rpId, userId, name, displayName, allAcceptedCredentialIds } = signal;
    await all?.call(PublicKeyCredential, { rpId, userId, allAcceptedCredentialIds });
    await details?.call(PublicKeyCredential, { rpId, userId, name, displayName });
  } catch {
    // whoever is not told keeps an entry that does not work
  }
}

// creation handles a form that creates a passkey; done(row) is called with the gateway's record of it.
function creation(form, prepared, done, failed = () => false) {
  const button = $("button[type=submit]", form);
  const input = form.elements.name;
  let again = null; // created on the device, but the gateway may not know it: the next press sends it once more
  const send = async (credential, json) => {
    again = { credential, json };
    let row;
    try {
      // Nobody has typed the suggested name, so the authenticator's own may go before it.
      row = await register(credential, input.value.trim(), input.value === input.dataset.suggested);
    } catch (failure) {
      if (failure.fromGateway && !mayStillCount.includes(failure.code)) {
        again = null;
        // Not what is somebody's, nor what a first try, whose answer was lost, may be registering at this very moment.
        if (!["passkey_exists", "challenge_used"].includes(failure.code)) discard(json.rp.id, credential.id);
      }
      throw failure;
    }
    again = null;
    await done(row);
  };
  form.onsubmit = (event) => {
    event.preventDefault();
    if (!input.value.trim()) return complain(input, "Give the passkey a name.");
    if (current || left) return; // or a second press would end what the first one began
    creating.begin();
    ceremony(button, prepared(), send, {
      again,
      failed: (failure) => complainAbout(input, failure) || failed(failure),
    }).then(() => again || creating.stop());
  };
}

// suggest fills in the name of a passkey that is about to be created.
function suggest(input, taken) {
  if (input.value && input.value !== input.dataset.suggested) return;
  input.value = input.dataset.suggested = suggestName(taken);
}

// suggestName names a passkey after the device, as far as the browser tells.
function suggestName(taken = []) {
  const about = `${navigator.userAgentData?.platform ?? ""} ${navigator.platform} ${navigator.userAgent}`;
  const [, name] = [
    [/iPad|Mac.*Mobile/, "iPad"], [/iPhone/, "iPhone"], [/Android/, "Android phone"], [/CrOS|Chrome OS/, "Chromebook"],
    [/Win/, "Windows PC"], [/Mac/, "Mac"], [/Linux/, "Linux PC"], [/^/, "My passkey"],
  ].find(([pattern]) => pattern.test(about));
  const used = new Set(taken.map((one) => one.toLowerCase()));
  let unique = name;
  for (let n = 2; used.has(unique.toLowerCase()); n++) unique = `${name} ${n}`;
  return unique;
}

// ------------------------------------------------------------------------------------------------------ recovery codes

let keeping = false; // recovery codes are on the page that nobody can read again

// keep shows recovery codes in box until the person goes on; then() is called with the press of the button.
function keep(box, codes, then) {
  const text = [
    `Recovery codes of ${$(".who bdi", document)?.textContent ?? $(".facts bdi")?.textContent ?? ""}`.trim(),
    `for ${location.host}`, "", ...codes, "",
    `Each registers one passkey, once, at ${location.origin}${page.prefix}/passkeys`, "",
  ].join("\n");
  $(".codes", box).replaceChildren(...codes.map((code) => {
    const item = element("li", "");
    item.append(element("code", code));
    return item;
  }));
  // Whoever leaves now has none: ask once, until they have done something with them.
  const hold = (event) => event.preventDefault();
  const saved = () => removeEventListener("beforeunload", hold);
  addEventListener("beforeunload", hold);
  $("button[data-do=copy]", box).onclick = () => navigator.clipboard.writeText(text).then(() => {
    saved();
    say("Copied.");
  }, () => say("The browser did not allow copying. Select the codes and copy them, or download them."));
  $("button[data-do=download]", box).onclick = () => {
    const file = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    element("a", "", { href: file, download: `recovery-codes-${location.hostname}.txt` }).click();
    setTimeout(() => URL.revokeObjectURL(file), 60_000);
    saved();
    say("Downloaded. Move the file to a safe place.");
  };
  $("button[data-do=print]", box).onclick = () => {
    saved();
    print();
  };
  $("button[data-do=kept]", box).onclick = () => {
    if (current) return;
    saved();
    keeping = false;
    page.state = "loading";
    document.body.classList.remove("keeping");
    $(".codes", box).replaceChildren();
    box.hidden = true;
    clear();
    then();
  };
  addEventListener("pagehide", () => $(".codes", box).replaceChildren()); // not for the browser's back/forward cache
  keeping = true;
  document.body.classList.add("keeping");
  page.state = "keeping";
  box.hidden = false;
  $("h2", box).focus();
}

// -------------------------------------------------------------------------------------------------- this tab's memory

// Where the browser refuses storage, nothing is remembered, and what depends on memory (prompting by itself) is not done.
function recall(key) {
  try { return JSON.parse(sessionStorage.getItem(`stepgate.${key}`)); } catch { return null; }
}

function remember(key, value) {
  try {
    sessionStorage.setItem(`stepgate.${key}`, JSON.stringify(value));
    return true;
  } catch { return false; }
}

// onThisOrigin returns a path as a URL of this origin, or that of "/". The gateway has checked it; a second look costs
// nothing. (Browsers take a backslash for a slash, drop tabs and line breaks, and resolve "/.//host" to "//host".)
function onThisOrigin(path) {
  const home = `${location.origin}/`;
  if (typeof path !== "string" || !/^\/(?![/\\])[^\x00-\x20\x7f]*$/.test(path)) return home;
  const url = new URL(path, home);
  return url.origin === location.origin && !url.pathname.startsWith("//") ? url.href : home;
}

// -------------------------------------------------------------------------------------------------- the challenge page

function challengePage() {
  const levels = ["present", "verified", "device_bound", "attested"];
  const reaches = (level) => levels.indexOf(level) >= levels.indexOf(page.level);
  const wish = page.demand ? { demand: page.demand } : { return_to: page.returnTo };
  const maxAge = Number(page.maxAge); // seconds; 0: every time

  remember("goal", page.returnTo); // for the account page, where people without a passkey at hand go first

  const use = new Prepared("get", () => api("POST", "/challenge/options", wish));
  const first = new Prepared("create", () => api("POST", "/passkeys/options", { name: "", ...wish }));
  const authorize = new Prepared("get", () => api("POST", "/passkeys/authorize/options", { action: "add" }));
  let added = null; // options for the new passkey, once the person has confirmed with an old one
  let panel;

  const prepare = { use, confirm: use, create: first, add: authorize };
  const button = (name) => $(`section[data-panel=${name}] .primary`);

  // show switches to a panel and prepares what its button needs.
  function show(name, { focus = true } = {}) {
    panel = page.panel = name;
    for (const section of $$("section[data-panel]")) section.hidden = section.dataset.panel !== name;
    for (const input of $$(`section[data-panel=${name}] input[name=name]`)) if (!input.value) suggest(input);
    if (focus) button(name)?.focus();
    const prepared = prepare[name];
    if (!prepared) return Promise.resolve();
    for (const other of Prepared.all) other.started = other === prepared;
    return (prepared.fresh() ? Promise.resolve() : prepared.start()).then(() => {
      if (page.state === "loading") page.state = "ready";
      return true;
    }, (failure) => {
      if (!divert(failure)) {
        if (!explain(failure).next) button(name).textContent = button(name).dataset.label = "Try again";
        warn(failure, { focus: false });
      }
      return false;
    });
  }

  // divert answers refusals that mean: another panel is the right one. It says why and returns true.
  function divert(failure) {
    const to = { level_unreachable: "add", no_passkey: page.firstUse === "true" ? "create" : "closed", authorization_expired: "add" }[failure.code];
    if (!to || to === panel) return false;
    warn(failure, { focus: false });
    show(to);
    return true;
  }

  function leave(to) {
    left = true;
    const target = onThisOrigin(to);
    const before = recall("finished");
    const again = before?.to === page.returnTo && Date.now() - before.at < 60_000;
    remember("finished", { to: page.returnTo, at: Date.now(), count: again ? before.count + 1 : 1 });
    // A browser carries the fragment of the address through redirects to here; carry it on.
    const goal = target.includes("#") ? target : target + location.hash;
    page.state = "left";
    // If the goal is a download, this page stays in the window.
    say("Confirmed. Taking you on… ", element("a", "Continue", { href: goal }));
    location.replace(goal);
  }

  async function finish(credential) {
    const { return_to } = await api("POST", "/challenge/verify", { credential, ...wish });
    leave(return_to);
  }

  const press = (name, options) => ceremony(button(name), use, finish, { failed: divert, ...options });
  button("use").onclick = () => press("use");
  button("confirm").onclick = () => press("confirm");

  // The codes that come with a first passkey are shown before anything else: leaving the page would lose them.
  async function created(row) {
    if (row?.codesLost) warn(new Failure("codes_lost"), { focus: false });
    if (!row?.recovery_codes) return goOn(row);
    show("codes", { focus: false });
    $("h1").textContent = "Your passkey has been created";
    $(".lead").textContent = "One thing before you go on:";
    keep($("section[data-panel=codes]"), row.recovery_codes, () => goOn(row).catch(warn));
  }

  // A new passkey proves nothing yet: it has to be used once (and reach the level) before the way is free.
  async function goOn(row) {
    if (page.level && row?.level && !reaches(row.level)) {
      await show("add");
      throw new Failure("created_too_weak", page.level === "attested" ? {
        title: "The new passkey is not of an accepted make",
        detail: `“${row.name}” was created, but nothing shows that it is of a make that your organisation accepts. Ask your administrators which security key to use.`,
      } : {
        title: "The new passkey is synced",
        detail: `“${row.name}” was created, but it can be copied between devices, and opening this needs one that can’t. Add a security key, or choose “this device” in the prompt.`,
      });
    }
    const shown = show("confirm");
    // With the panel, not when its options have come: what the texts move would be moved from under a pointer.
    $("h1").textContent = "Confirm it’s you";
    $(".lead").textContent = "Your passkey has been created. One more step: confirm with it to go on.";
    say("Almost there.");
    const ready = await shown;
    if (ready && !row?.codesLost) setTimeout(() => inView() && press("confirm", { auto: true })); // when this ceremony is over
  }
  creation($("section[data-panel=create] form"), () => first, created);
  creation($("section[data-panel=added] form"), () => added, created, divert);

  button("add").onclick = () => ceremony(button("add"), authorize, async (authorization) => {
    const options = await api("POST", "/passkeys/options", { name: "", authorization, ...wish });
    let given = options;
    added?.retire();
    added = new Prepared("create", async () => {
      if (!given) throw new Failure("authorization_expired");
      return [given, given = null][0];
    }, { renewable: false });
    await added.start();
    // Before the panel is shown: until this ceremony has ended its button does nothing.
    const { passkeys } = await api("GET", "/passkeys").catch(() => ({ passkeys: [] }));
    suggest($("section[data-panel=added] input"), passkeys.map((passkey) => passkey.name));
    await show("added");
  });

  for (const reload of $$("button[data-do=reload]")) {
    reload.hidden = false;
    reload.onclick = () => location.reload();
  }

  const inView = () => !document.hidden && document.hasFocus();

  // prompt asks without being told to: once per demand and tab, and only if the tab can remember that it did.
  function prompt() {
    const demand = page.demand || page.returnTo;
    const prompted = recall("prompted") ?? [];
    if (panel !== "use" || justBack || current || left || page.state !== "ready" || !use.fresh() || !inView()) return;
    if (prompted.includes(demand) || !remember("prompted", [...prompted, demand].slice(-8))) return;
    press("use", { auto: true });
  }

  // Another tab may have confirmed meanwhile. Then the challenge page itself answers with a redirect to the goal. Once
  // per page: if it does not, asking again would only reload for ever.
  let followed = recall("followed") === (page.demand || page.returnTo);
  let asking = false;
  async function follow() {
    if (followed || asking || current || left || maxAge <= 0) return;
    asking = true;
    try {
      const status = await api("GET", "/status");
      // stepped_up is about the console's usual demand; what this page needs may be more or less than that.
      const proofs = [...(Array.isArray(status.proofs) ? status.proofs : []), ...(status.stepped_up === true ? [status] : [])];
      if (!proofs.some(({ level, age }) => levels.includes(level) && reaches(level) && age < maxAge) || current || left) return;
      followed = true;
      if (remember("followed", page.demand || page.returnTo)) location.reload();
    } catch {
      // no answer is no news
    } finally {
      asking = false;
    }
  }

  async function looked() {
    if (!inView() || keeping) return;
    for (const prepared of Prepared.all) prepared.wake();
    await follow();
    prompt();
  }

  // Back from a confirmation a moment ago: the proof did not last. Prompting again would go round in circles.
  const mark = recall("finished");
  const justBack = Boolean(mark) && Date.now() - mark.at < 10_000;
  const lost = justBack && mark.to === page.returnTo &&
    (maxAge > 0 ? Date.now() - mark.at < maxAge * 1000 : mark.count > 1);

  if (page.panel !== "closed") {
    show(page.panel, { focus: false }).then((ready) => ready && prompt());
    addEventListener("focus", looked);
    document.addEventListener("visibilitychange", looked);
    addEventListener("online", looked);
  }
  if (lost) {
    const [title, detail] = {
      grant_stale: ["Your confirmation counted as too old at once", "Probably a clock is wrong. Please tell the administrators."],
      grant_from_future: ["Your confirmation counted as made in the future", "Probably a clock is wrong. Please tell the administrators."],
      grant_level: ["That passkey was not strong enough", "Choose another one when your browser asks."],
      grant_revoked: ["Your confirmation was ended at once", "Somebody ended all of them. You can confirm again."],
    }[page.because] ?? ["Your browser did not keep the proof", "You have just confirmed, but the proof did not come back. Most often cookies are blocked for this site, by a setting, a private window or an extension. Allow them, then confirm again."];
    warn(new Failure("proof_lost", { title, detail }));
  } else if (!navigator.cookieEnabled) {
    warn(new Failure("cookies_off"));
  }
}

// ---------------------------------------------------------------------------------------------------- the account page

function accountPage() {
  const rows = $$("li[data-id]");
  const names = () => rows.map((row) => row.dataset.name);

  // The list is the server's: after a change it is loaded again, with a word about what happened.
  function reload(text, { added = false } = {}) {
    left = true;
    remember("flash", { text, added });
    location.reload();
  }
  const flash = recall("flash");
  if (flash) {
    remember("flash", null);
    const goal = flash.added && recall("goal"); // whoever came from the challenge page to add a passkey wants to go back
    say(flash.text, ...(goal ? [" ", element("a", "Go on to where you were going", { href: onThisOrigin(goal) })] : []));
    statusBox.focus();
    tell();
  }
  const codes = $("[data-step=codes]");

  // --- add
  const open = $("button[data-do=add]");
  const invited = $("button[data-do=invited]");
  if (open || invited) {
    const steps = Object.fromEntries($$("[data-step]").filter((step) => step !== codes).map((step) => [step.dataset.step, step]));
    const show = (name) => {
      for (const [key, step] of Object.entries(steps)) step.hidden = key !== name;
      if (steps[name]) $("button", steps[name]).focus();
    };
    const authorize = new Prepared("get", () => api("POST", "/passkeys/authorize/options", { action: "add" }));
    let options = new Prepared("create", () => api("POST", "/passkeys/options", { name: "" }));
    const prepare = (prepared) => {
      prepared.started = true;
      prepared.start().catch((failure) => warn(failure, { focus: false }));
    };
    suggest(steps.create.elements.name, names());
    // granted lets one passkey be created, with options that were given once.
    const granted = async (given, late = "authorization_expired") => {
      options.retire();
      options = new Prepared("create", async () => {
        if (!given) throw new Failure(late);
        return [given, given = null][0];
      }, { renewable: false });
      await options.start();
      show("create");
    };
    // Two kinds of code let somebody register who has no passkey at hand: each a form, and a fragment that links bring it in.
    const byCode = (name, opener, member) => {
      const form = steps[name];
      const code = form.elements[member];
      opener.onclick = () => {
        if (current || left) return;
        clear();
        show(name);
        code.focus();
      };
      form.onsubmit = async (event) => {
        event.preventDefault();
        const given = code.value.trim();
        if (!given) return complain(code, `Enter the ${form.querySelector("label").textContent.toLowerCase()}.`);
        clear();
        try {
          await granted(await api("POST", "/passkeys/options", { name: "", [member]: given }), "code_once_more");
        } catch (failure) {
          warn(failure);
        }
      };
      return code;
    };
    const invitation = invited && byCode("invited", invited, "invitation");
    const recover = $("button[data-do=recover]");
    const recovery = recover && byCode("recover", recover, "recovery_code");
    // A link brings an invitation in its fragment, which no server and no log sees; nor shall the history. #recover only opens
    // the form: recovery codes are in no links.
    const bring = () => {
      if (current || left) return;
      if (recovery && location.hash === "#recover") {
        history.replaceState(null, "", location.pathname + location.search); // or it would open again after the next reload
        clear();
        show("recover");
        recovery.focus();
      }
      const [, brought] = location.hash.match(/^#invitation=([\w-]{1,100})$/) ?? [];
      if (!brought || !invitation) return;
      history.replaceState(null, "", location.pathname + location.search);
      clear();
      show("invited");
      invitation.value = brought;
    };
    addEventListener("hashchange", bring);
    bring();
    if (open) open.onclick = () => {
      if (current || left) return;
      clear();
      show(steps.authorize ? "authorize" : "create"); // a first passkey needs no authorization
      prepare(steps.authorize ? authorize : options);
    };
    if (steps.authorize) steps.authorize.onsubmit = (event) => {
      event.preventDefault();
      ceremony($("button", steps.authorize), authorize, async (authorization) => {
        await granted(await api("POST", "/passkeys/options", { name: "", authorization }));
      });
    };
    creation(steps.create, () => options, (row) => {
      const left = row.recovery_codes_left;
      const flash = `“${row.name}” has been added.` + (row.codesLost ? " Its recovery codes did not arrive: make new ones below." : "") + (left === undefined ? "" : ` You have ${left} recovery code${left === 1 ? "" : "s"} left.`);
      if (!row.recovery_codes) return reload(flash, { added: true });
      show("nothing");
      keep(codes, row.recovery_codes, () => reload(flash, { added: true }));
    });
    const second = $("button[data-do=second]");
    if (second) second.onclick = () => open.click();
  }

  // --- rename
  for (const row of rows) {
    const form = $("form[data-do=rename]", row);
    const opener = $("button[data-do=rename]", row);
    const input = form.elements.name;
    const toggle = (shown) => {
      form.hidden = !shown;
      opener.setAttribute("aria-expanded", String(shown));
      input.value = row.dataset.name;
      if (shown) input.select();
      else opener.focus();
    };
    opener.onclick = () => toggle(form.hidden);
    $("button[data-do=close]", form).onclick = () => toggle(false);
    form.onkeydown = (event) => event.key === "Escape" && toggle(false);
    form.onsubmit = async (event) => {
      event.preventDefault();
      const name = input.value.trim();
      if (!name) return complain(input, "Give the passkey a name.");
      clear();
      try {
        const { name: renamed } = await api("PATCH", `/passkeys/${encodeURIComponent(row.dataset.id)}`, { name });
        row.dataset.name = renamed;
        for (const text of $$("[data-text=name]", row)) text.textContent = renamed;
        toggle(false);
        say(`Renamed to “${renamed}”.`);
        tell();
      } catch (failure) {
        complainAbout(input, failure) || warn(failure);
      }
    };
  }

  // --- remove
  const dialog = $("dialog");
  const confirm = $("button[data-do=confirm-remove]", dialog);
  const box = $("[role=alert]", dialog);
  let removal = null;
  let opener = null;
  for (const row of rows) {
    const button = $("button[data-do=remove]", row);
    button.onclick = () => {
      // aria-disabled keeps the button, and the reason beside it, within reach of keyboard and screen reader
      if (button.getAttribute("aria-disabled") === "true" || current || left) return;
      const { id, name } = row.dataset;
      opener = button;
      $("[data-text=name]", dialog).textContent = name;
      clear(box);
      delete confirm.dataset.label;
      confirm.textContent = "Confirm and remove";
      removal = new Prepared("get", () => api("POST", "/passkeys/authorize/options", { action: "remove", id }));
      removal.started = true;
      removal.start().catch((failure) => warn(failure, { box, focus: false }));
      dialog.showModal();
      confirm.onclick = () => ceremony(confirm, removal, async (authorization, json) => {
        await api("DELETE", `/passkeys/${encodeURIComponent(id)}`, { authorization, last: rows.length === 1 });
        for (const { id: credentialID } of json.allowCredentials ?? []) {
          if (await shortID(credentialID) === id) await discard(json.rpId, credentialID);
        }
        reload(`“${name}” has been removed.`);
      }, { box });
    };
  }
  $("button[data-do=close]", dialog).onclick = () => dialog.close();
  dialog.onclose = () => {
    current?.abort(new Failure("cancelled"));
    removal?.retire();
    opener?.focus();
  };

  // --- recovery codes
  const make = $("button[data-do=codes]");
  if (make) {
    const form = $("form[data-do=codes]");
    const authorized = new Prepared("get", () => api("POST", "/passkeys/authorize/options", { action: "recovery_codes" }));
    make.onclick = () => {
      if (current || left) return;
      clear();
      make.hidden = true;
      form.hidden = false;
      $("button", form).focus();
      authorized.started = true;
      authorized.start().catch((failure) => warn(failure, { focus: false }));
    };
    form.onsubmit = (event) => {
      event.preventDefault();
      ceremony($("button", form), authorized, async (authorization) => {
        const made = await api("POST", "/recovery-codes", { authorization }).catch((failure) => {
          const inDoubt = !failure.fromGateway || ["store_unavailable", "audit_unavailable", "internal"].includes(failure.code);
          throw inDoubt ? new Failure("codes_in_doubt") : failure;
        });
        form.hidden = true;
        keep(codes, made.recovery_codes, () => reload("You have new recovery codes. Earlier ones no longer work."));
      });
    };
  }

  // --- end all step-ups
  const logout = $("button[data-do=logout]");
  logout.onclick = async () => {
    if (current || left) return;
    clear();
    try {
      await api("POST", "/logout", {});
      say("All confirmations have ended. Protected pages ask for your passkey again.");
      statusBox.focus();
    } catch (failure) {
      warn(failure);
    }
  };

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) for (const prepared of Prepared.all) prepared.wake();
  });
  page.state = "ready";
}

// ---------------------------------------------------------------------------------------------------------------- start

page.state = "loading";
$("#slow")?.remove();
for (const host of $$("[data-host]")) host.textContent = location.host;
for (const part of $$("[data-scripted]")) part.hidden = false;
for (const time of $$("time")) {
  time.title = time.textContent;
  time.textContent = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" }).format(new Date(time.dateTime));
}

// A page that comes out of the browser's back/forward cache has options and promises of another time.
addEventListener("pageshow", (event) => event.persisted && location.reload());

if (page.panel !== "closed" && (!isSecureContext || !window.PublicKeyCredential || !navigator.credentials)) {
  for (const part of $$("section[data-panel], [data-step]")) part.hidden = true;
  warn(new Failure(isSecureContext ? "unsupported" : "insecure"), { focus: false });
} else if (page.page === "challenge") {
  challengePage();
} else {
  accountPage();
}
