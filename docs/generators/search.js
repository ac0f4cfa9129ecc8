// `node docs/generators/search.js build/docs`: ask the built site's own search what readers ask,
// and fail unless the page that answers comes first.
const fs = require("fs")
const path = require("path")
const vm = require("vm")

const QUESTIONS = {
  "overconfident alarm what to do": "how-to/on-an-alarm.html",
  "drift alarm": "how-to/on-an-alarm.html",
  "import onnx": "how-to/import-a-model.html",
  "kubernetes": "how-to/kubernetes.html",
  "noise floor": "explanation/calibrated.html",
  "threat model": "security.html",
}
const SETUP = 0
const QUERY = 2

const site = process.argv[2]
const workers = path.join(site, "assets/javascripts/workers")
const worker = fs.readdirSync(workers).find(name => /^search\..*\.js$/.test(name))
const { config, docs } = JSON.parse(
  fs.readFileSync(path.join(site, "search/search_index.json"), "utf8"))

let receive
let reply
const page = {
  addEventListener: (_, listener) => { receive = listener },
  postMessage: message => reply(message),
  importScripts: () => {},
  console, setTimeout, Promise,
}
page.self = page
vm.runInContext(fs.readFileSync(path.join(workers, worker), "utf8"), vm.createContext(page))

const ask = data => new Promise(resolve => { reply = resolve; receive({ data }) })

async function main() {
  await ask({ type: SETUP, data: { config, docs, options: {} } })
  for (const [question, answer] of Object.entries(QUESTIONS)) {
    const { data } = await ask({ type: QUERY, data: question })
    const found = data.items.map(([first]) => first.location.split("#")[0])
    if (found[0] !== answer) {
      console.error(`"${question}" finds ${found.slice(0, 3).join(", ")}: ${answer} should be first`)
      process.exitCode = 1
    }
  }
}

main()
