# Compares an offline bundle of the DLS Kit with its manifest: sizes, hashes, missing and extra files.
# It does NOT check the signature: whoever can change a file can change the manifest too. For that run verify.py, or
# minisign -V -p PUBLIC_KEY -m manifest.json
# Windows PowerShell 5.1 and later. Exit codes: 0 as listed, 1 failed, 5 files differ, 6 the manifest is refused.
param([string]$Folder = $PSScriptRoot)

Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'
$Signed = @('manifest.json', 'manifest.json.minisig')

function Stop-Refused([string]$Message) {
    [Console]::Error.WriteLine("manifest.json: $Message")
    [Console]::Error.WriteLine('HINT: copy the bundle again from where it was built')
    exit 6
}

function Read-Manifest([string]$Path) {
    $Manifest = [IO.File]::ReadAllText($Path) | ConvertFrom-Json
    if ($Manifest.kind -ne 'dlskit-bundle' -or $Manifest.schema -ne 1) { Stop-Refused 'must be of a bundle, schema 1' }
    $Expected = @{}  # takes names that differ by case for one, as Windows does
    foreach ($Entry in $Manifest.files) {
        $Parts = $Entry.path -split '/'
        $Odd = @($Parts | Where-Object { $_ -eq '' -or $_ -match '[\\:*?"<>|\x00-\x1f]' -or $_ -match '[. ]$' })
        if ($Odd.Count -gt 0) { Stop-Refused "must name paths inside the bundle, got $($Entry.path)" }
        if ($Expected.ContainsKey($Entry.path)) { Stop-Refused "must name each file once, got $($Entry.path) twice" }
        $Expected[$Entry.path] = $Entry
    }
    return $Expected
}

function Get-Difference($Entry, $File) {
    if ($File.Attributes -band [IO.FileAttributes]::ReparsePoint) { return 'a link' }
    if ($File.Length -ne $Entry.size) { return "$($File.Length) bytes in place of $($Entry.size)" }
    $Hash = (Get-FileHash -Algorithm SHA256 -LiteralPath $File.FullName).Hash
    if ($Hash -ne $Entry.sha256) { return 'another content' }
    return $null
}

try {
    $Root = (Resolve-Path -LiteralPath $Folder).ProviderPath.TrimEnd('\', '/')
    $Expected = Read-Manifest (Join-Path $Root 'manifest.json')
    $Wrong = 0
    $Seen = @{}
    foreach ($File in Get-ChildItem -LiteralPath $Root -Recurse -Force) {
        $Link = $File.Attributes -band [IO.FileAttributes]::ReparsePoint
        if ($File.PSIsContainer -and -not $Link) { continue }
        $Path = $File.FullName.Substring($Root.Length + 1).Replace('\', '/')
        if ($Signed -contains $Path) { continue }
        $Seen[$Path] = $true
        $Got = 'a file that is not in the manifest'
        if ($Expected.ContainsKey($Path)) { $Got = Get-Difference $Expected[$Path] $File }
        if ($Got) {
            [Console]::Error.WriteLine("${Path}: must be as the manifest says, got $Got")
            $Wrong++
        }
    }
    foreach ($Path in $Expected.Keys) {
        if (-not $Seen.ContainsKey($Path)) {
            [Console]::Error.WriteLine("${Path}: must be as the manifest says, got nothing")
            $Wrong++
        }
    }
}
catch {
    [Console]::Error.WriteLine("verify.ps1: must read every file, got $_")
    exit 1
}
if ($Wrong -gt 0) {
    [Console]::Error.WriteLine('HINT: copy the bundle again from where it was built')
    exit 5
}
Write-Output "$($Expected.Count) files are as the manifest says. The signature was NOT checked: that takes verify.py or minisign."
exit 0
