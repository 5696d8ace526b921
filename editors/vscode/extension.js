"use strict";

const vscode = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

const LANGUAGE = "darknet-cfg";
// What VS Code takes a .cfg file for, whichever program it belongs to.
const UNSPECIFIC = new Set(["plaintext", "ini", "properties"]);
const NET = /^\s*\[\s*(net|network)\s*\]/;
const SKIPPED = /^\s*([#;].*)?$/;
const MOST_LINES = 200; // of comments before the first section

let client; // the one that runs
let started; // the promise of the first start

function settings() {
  return vscode.workspace.getConfiguration("yolor");
}

/** Whether [net] is the first thing in the text besides comments. */
function startsWithNet(document) {
  for (let number = 0; number < Math.min(document.lineCount, MOST_LINES); number++) {
    const text = document.lineAt(number).text.replace(/^\uFEFF/, "");
    if (!SKIPPED.test(text)) return NET.test(text);
  }
  return false;
}

/** Start the server with the first Darknet cfg; see that a .cfg file of one is taken for it. */
async function open(document) {
  if (document.languageId === LANGUAGE) {
    started ??= start();
    return started;
  }
  const isCfg = UNSPECIFIC.has(document.languageId) && document.uri.path.endsWith(".cfg");
  if (isCfg && settings().get("detect") && startsWithNet(document)) {
    await vscode.languages.setTextDocumentLanguage(document, LANGUAGE); // which opens it again
  }
}

async function start() {
  const [command, ...before] = settings().get("command");
  const dialect = settings().get("dialect");
  const args = [...before, "lsp", ...(dialect ? ["--dialect", dialect] : [])];
  const options = { documentSelector: [{ language: LANGUAGE }] };
  client = new LanguageClient("yolor", "Darknet cfg", { command, args }, options);
  try {
    await client.start();
  } catch (fault) {
    client = undefined;
    const how = "pip install 'yolor-cfg[lsp]', or set yolor.command";
    vscode.window.showErrorMessage(`${[command, ...args].join(" ")} does not start: ${how} (${fault.message})`);
  }
}

async function stop() {
  const running = client;
  client = undefined;
  if (running) await running.stop();
}

async function restart() {
  await stop();
  started = start();
  await started;
}

function isAboutServer(change) {
  return ["yolor.command", "yolor.dialect"].some((name) => change.affectsConfiguration(name));
}

async function activate(context) {
  context.subscriptions.push(
    vscode.commands.registerCommand("yolor.restart", restart),
    vscode.workspace.onDidOpenTextDocument(open),
    vscode.workspace.onDidChangeConfiguration((change) => {
      if (started && isAboutServer(change)) return restart();
    }),
  );
  for (const document of vscode.workspace.textDocuments) await open(document);
}

module.exports = { activate, deactivate: stop };
