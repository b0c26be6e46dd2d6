//! A real browser for tests: chromium, headless, driven over HTTP as WebDriver (W3C) says.
//!
//! Where chromium or its driver is missing, [`Driver::start`] gives none and says so; with `CI=true` it fails.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use serde_json::{Value, json};

/// The key under which WebDriver gives elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The driver's process; it ends with this value.
pub struct Driver {
    process: Child,
    address: String,
}

impl Driver {
    /// Starts it on a free port.
    pub fn start() -> Option<Self> {
        let browser = Command::new("chromium").arg("--version").output();
        let started = browser.and_then(|_| {
            Command::new("chromedriver")
                .arg("--port=0")
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
        });
        let mut process = match started {
            Ok(process) => process,
            Err(error) => {
                let message = format!(
                    "chromium or chromedriver cannot be started ({error}): the page of explain is NOT tested"
                );
                assert!(std::env::var("CI").as_deref() != Ok("true"), "{message}");
                eprintln!("{message}");
                return None;
            }
        };
        let mut lines = BufReader::new(process.stdout.take().expect("its output is piped")).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        let port = port.expect("chromedriver names its port");
        Some(Self {
            process,
            address: format!("http://127.0.0.1:{port}"),
        })
    }

    /// A window of this size; `phone` has a touch screen instead of a mouse.
    pub fn open(&self, width: u32, height: u32, phone: bool) -> Browser {
        let mut options = json!({
            // Without --no-sandbox chromium does not start as root.
            "args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                "--disable-background-networking", "--force-device-scale-factor=1", "--hide-scrollbars",
                format!("--window-size={width},{height}"),
            ],
        });
        if phone {
            options["mobileEmulation"] = json!({
                "deviceMetrics": {"width": width, "height": height, "pixelRatio": 2.0, "touch": true, "mobile": true}
            });
        }
        let capabilities = json!({
            "capabilities": {"alwaysMatch": {
                "browserName": "chrome",
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            }}
        });
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(120)))
            .http_status_as_error(false)
            .build()
            .new_agent();
        let mut browser = Browser {
            agent,
            session: format!("{}/session", self.address),
        };
        let made = browser.post("", &capabilities);
        let id = made["sessionId"].as_str().expect("a session").to_owned();
        browser.session = format!("{}/{id}", browser.session);
        browser
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The sessions have ended before: see `Browser`.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One window.
pub struct Browser {
    agent: ureq::Agent,
    session: String,
}

/// An element of the page.
#[derive(Clone, Debug)]
pub struct Element(Value);

impl Browser {
    fn answer(&self, sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Value {
        let mut response = sent.expect("the driver answers");
        let text = response
            .body_mut()
            .with_config()
            .limit(1 << 28)
            .read_to_string();
        let answer: Value = serde_json::from_str(&text.expect("an answer")).expect("JSON");
        assert!(answer["value"]["error"].is_null(), "{}", answer["value"]);
        answer["value"].clone()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let request = self.agent.post(format!("{}{path}", self.session));
        self.answer(
            request
                .content_type("application/json")
                .send(body.to_string()),
        )
    }

    /// Opens a page.
    pub fn go(&self, url: &str) {
        self.post("/url", &json!({"url": url}));
    }

    /// What the body of a function returns.
    pub fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// The elements of a selector, in the order of the page.
    pub fn all(&self, selector: &str) -> Vec<Element> {
        let found = self.post(
            "/elements",
            &json!({"using": "css selector", "value": selector}),
        );
        found
            .as_array()
            .expect("a list")
            .iter()
            .cloned()
            .map(Element)
            .collect()
    }

    /// The only element of a selector.
    pub fn one(&self, selector: &str) -> Element {
        let [element] = &self.all(selector)[..] else {
            panic!("{selector} is not one element");
        };
        element.clone()
    }

    fn element(&self, element: &Element, path: &str) -> String {
        let id = element.0[ELEMENT].as_str().expect("an element");
        format!("/element/{id}{path}")
    }

    /// Clicks where the element is, as a mouse or a finger does.
    pub fn click(&self, element: &Element) {
        self.post(&self.element(element, "/click"), &json!({}));
    }

    /// Types into an element.
    pub fn type_into(&self, element: &Element, text: &str) {
        self.post(&self.element(element, "/value"), &json!({"text": text}));
    }

    /// Presses keys one after another, wherever the focus is.
    pub fn press(&self, keys: &str) {
        let strokes = keys.chars().flat_map(|key| {
            ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key.to_string()}))
        });
        let strokes: Vec<Value> = strokes.collect();
        self.post(
            "/actions",
            &json!({"actions": [{"type": "key", "id": "keys", "actions": strokes}]}),
        );
    }

    fn pointer(&self, kind: &str, actions: Value) {
        let pointer = json!({"type": "pointer", "id": kind, "parameters": {"pointerType": kind}, "actions": actions});
        self.post("/actions", &json!({"actions": [pointer]}));
    }

    /// Moves the mouse onto an element.
    pub fn hover(&self, element: &Element) {
        let onto =
            json!({"type": "pointerMove", "duration": 0, "origin": element.0, "x": 0, "y": 0});
        self.pointer("mouse", json!([onto]));
    }

    /// Moves the mouse to a place in the window.
    pub fn move_to(&self, x: u32, y: u32) {
        self.pointer(
            "mouse",
            json!([{"type": "pointerMove", "duration": 0, "x": x, "y": y}]),
        );
    }

    /// Taps an element with a finger.
    pub fn tap(&self, element: &Element) {
        let onto =
            json!({"type": "pointerMove", "duration": 0, "origin": element.0, "x": 0, "y": 0});
        let (down, up) = (
            json!({"type": "pointerDown", "button": 0}),
            json!({"type": "pointerUp", "button": 0}),
        );
        self.pointer("touch", json!([onto, down, up]));
    }

    /// A command of Chrome's own protocol.
    pub fn chrome(&self, command: &str, parameters: &Value) {
        self.post(
            "/goog/cdp/execute",
            &json!({"cmd": command, "params": parameters}),
        );
    }

    /// A picture of the window, as the bytes of a PNG file and as pixels.
    pub fn screenshot(&self) -> (Vec<u8>, RgbImage) {
        let sent = self
            .agent
            .get(format!("{}/screenshot", self.session))
            .call();
        let text = self.answer(sent);
        let bytes = STANDARD
            .decode(text.as_str().expect("a picture"))
            .expect("base64");
        let picture = image::load_from_memory(&bytes)
            .expect("a picture")
            .to_rgb8();
        (bytes, picture)
    }

    /// What the page complained of, and every address that it asked for.
    pub fn complaints_and_requests(&self) -> (Vec<String>, Vec<String>) {
        let log = |kind: &str| {
            let entries = self.post("/se/log", &json!({"type": kind}));
            entries.as_array().expect("a log").clone()
        };
        let complaints = log("browser").iter().map(ToString::to_string).collect();
        let requests = log("performance").into_iter().filter_map(|entry| {
            let event: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let event = &event["message"];
            let sent = event["method"] == "Network.requestWillBeSent";
            sent.then(|| event["params"]["request"]["url"].to_string())
        });
        (complaints, requests.collect())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Where this fails the driver's end closes the window.
        let _ = self.agent.delete(&self.session).call();
    }
}
