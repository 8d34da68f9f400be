// Package config turns what an operator says into settings: command line
// flags, the environment and a TOML file, which all bear the same names. A
// flag wins over the environment, the environment over the file.
//
// It also holds the manners both programs share: how errors and hints are
// printed, how logs are set up, how a summary is written. Only the commands
// import it.
package config
