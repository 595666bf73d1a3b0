// The WebSocket to the server: pictures come as events, requests are promises. It comes back by itself.
import { answerTo } from "/dashboard/hmac.js";

const WRONG_KEY = 4401;
const BACK_MS = 1000;

export class Link extends EventTarget {
  constructor() {
    super();
    this.waiting = new Map();
    this.number = 0;
    // A link with #key=... in it (from a code on a screen) is as good as typing it; it doesn't stay in the address.
    const given = new URLSearchParams(location.hash.slice(1)).get("key");
    if (given) {
      sessionStorage.setItem("key", given);
      history.replaceState(null, "", location.pathname);
    }
  }

  connect() {
    this.socket = new WebSocket(`ws://${location.host}/live`);
    this.socket.onmessage = ({ data }) => this.take(JSON.parse(data));
    this.socket.onclose = ({ code }) => {
      for (const { fail } of this.waiting.values()) fail(new Error("the server is gone"));
      this.waiting.clear();
      if (code === WRONG_KEY) sessionStorage.removeItem("key");
      this.tell("gone", { wrongKey: code === WRONG_KEY });
      setTimeout(() => this.connect(), BACK_MS);
    };
  }

  take(message) {
    if (message.challenge) {
      this.challenge = message.challenge;
      const key = sessionStorage.getItem("key");
      if (key) this.giveKey(key);
      else this.tell("key-wanted");
    } else if ("id" in message) {
      const request = this.waiting.get(message.id);
      this.waiting.delete(message.id);
      if (message.error) request?.fail(new Error(message.error));
      else request?.done(message);
    } else {
      for (const kind of ["hello", "status", "meters", "presets"]) if (kind in message) this.tell(kind, message[kind]);
    }
  }

  giveKey(key) {
    sessionStorage.setItem("key", key);
    this.socket.send(JSON.stringify({ answer: answerTo(key, this.challenge) }));
  }

  request(what, content = {}) {
    if (this.socket?.readyState !== WebSocket.OPEN) return Promise.reject(new Error("the server is gone"));
    const id = (this.number += 1);
    this.socket.send(JSON.stringify({ ...content, do: what, id }));
    return new Promise((done, fail) => this.waiting.set(id, { done, fail }));
  }

  tell(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }
}
